"""Reads a token with PyJWT, which verifies it: read_token.py KEY_FILE ALGORITHM TOKEN. Prints its claims."""

import json
import pathlib
import sys

import jwt

key, algorithm, token = pathlib.Path(sys.argv[1]).read_text().strip(), *sys.argv[2:]
print(json.dumps(jwt.decode(token, key, algorithms=[algorithm])))
