"""Makes keys and tokens with PyJWT: tokens.py FOLDER NOW. Writes the keys; prints the tokens as JSON."""

import json
import pathlib
import sys
import time

import jwt
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import algorithms

folder, now = pathlib.Path(sys.argv[1]), int(sys.argv[2])
SECRET = "a secret of more than thirty-two bytes"


def save_public(name: str, key) -> None:
    pem = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pem").write_bytes(pem)


def jwk(kid: str, algorithm, key) -> dict:
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}


def new_keys() -> dict:
    return {
        "RS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }


def save_set(name: str, keys: dict) -> None:
    makers = {
        "RS256": algorithms.RSAAlgorithm,
        "ES256": algorithms.ECAlgorithm,
        "EdDSA": algorithms.OKPAlgorithm,
    }
    jwks = [jwk(f"{name}-{alg}", makers[alg], key) for alg, key in keys.items()]
    (folder / f"{name}.json").write_text(json.dumps({"keys": jwks}))


keys = new_keys()
(folder / "HS256.pem").write_text(SECRET + "\n")
for name, key in keys.items():
    save_public(name, key)
save_set("first", keys)
later = new_keys()
save_set("later", later)

usual = {"sub": "ann", "iat": now, "exp": now + 3600, "subscribe": ["news", "chat.*"]}
claims = {
    "good": usual,
    "other": {**usual, "subscribe": ["other"]},
    "expired": {**usual, "exp": now - 100},
    "early": {**usual, "nbf": now + 3600},
    "eternal": {"sub": "ann", "subscribe": ["news"]},
    "three": {**usual, "connections": 3},
    "publisher": {**usual, "publish": ["news"]},
    "reader": {**usual, "control": ["read"]},
    "less": {**usual, "subscribe": ["news"]},
    "ours": {**usual, "iss": "https://login.example", "aud": "edge"},
    "ours_too": {**usual, "iss": "https://login.example", "aud": ["shop", "edge"]},
    "their_issuer": {**usual, "iss": "https://login.example.evil", "aud": "edge"},
    "their_audience": {**usual, "iss": "https://login.example", "aud": ["shop", "edges"]},
    "no_audience": {**usual, "iss": "https://login.example"},
}
signers = {"HS256": SECRET, **keys}
tokens = {
    alg: {name: jwt.encode(claim, key, algorithm=alg) for name, claim in claims.items()}
    for alg, key in signers.items()
}
for alg, key in signers.items():
    stranger = SECRET[::-1] if alg == "HS256" else later[alg]
    tokens[alg]["stranger"] = jwt.encode(usual, stranger, algorithm=alg)
    tokens[alg]["none"] = jwt.encode(usual, None, algorithm="none")
    if alg != "HS256":
        tokens[alg]["first"] = jwt.encode(usual, key, algorithm=alg, headers={"kid": f"first-{alg}"})
        tokens[alg]["later"] = jwt.encode(
            usual, later[alg], algorithm=alg, headers={"kid": f"later-{alg}"}
        )
# Last, since making keys takes a while: with the leeway of 30 seconds it ends in about five.
soon = {**usual, "exp": int(time.time()) - 25}
tokens["HS256"]["soon"] = jwt.encode(soon, SECRET, algorithm="HS256")
print(json.dumps(tokens))
