//! `stentor token`: makes tokens for trying things out, and says what one is worth. Needs no server.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{ArgGroup, Args, Command};
use serde_json::{Map, Value, json};
use stentor::{
    access::{Access, ApiKeys, Expected, Keys, Signer, read},
    config::duration,
};

use super::failure::{Failure, print};

/// The arguments.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).args(["key_file", "show"]))]
pub struct Token {
    /// The key to sign with: a file with a secret (HS256), or with a private key in PEM (PKCS #8) of
    /// RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA).
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The algorithm that the key must be for: HS256, RS256, ES256 or EdDSA. [default: the key's]
    #[arg(long, requires = "key_file", value_name = "NAME")]
    alg: Option<String>,
    /// A name for the key, as a JWKS file has it.
    #[arg(long, requires = "key_file", value_name = "NAME")]
    kid: Option<String>,
    /// A channel to subscribe to, or a beginning with * behind it. May be repeated.
    #[arg(long, requires = "key_file", value_name = "CHANNELS")]
    subscribe: Vec<String>,
    /// A channel to publish to, or a beginning with * behind it. May be repeated.
    #[arg(long, requires = "key_file", value_name = "CHANNELS")]
    publish: Vec<String>,
    /// How long it is good, like 90s, 1h or 24h.
    #[arg(long = "for", requires = "key_file", value_name = "DURATION", default_value = "1h")]
    lifetime: String,
    /// Whose it is.
    #[arg(long, requires = "key_file", value_name = "NAME")]
    sub: Option<String>,
    /// How many connections its subject may have at one time.
    #[arg(long, requires_all = ["key_file", "sub"], value_name = "NUMBER")]
    connections: Option<u32>,
    /// How often a second may be published with it; 0 is no limit.
    #[arg(long, requires = "key_file", value_name = "NUMBER")]
    publish_rate: Option<u32>,
    /// What it may do at the control listener besides publishing: read or admin. May be repeated.
    #[arg(long, requires = "key_file", value_name = "SCOPE")]
    control: Vec<String>,
    /// Who issues it; with --show, what the server's token-issuer is.
    #[arg(long, value_name = "TEXT")]
    iss: Option<String>,
    /// For whom it is; with --show, what the server's token-audience is.
    #[arg(long, value_name = "TEXT")]
    aud: Option<String>,
    /// A token to show instead: what it says, and whether it would be accepted.
    #[arg(long, value_name = "TOKEN", conflicts_with = "key_file")]
    show: Option<String>,
    /// The server's token-key, to verify the shown token with.
    #[arg(long, requires = "show", value_name = "FILE")]
    token_key: Option<PathBuf>,
    /// The server's token-jwks, to verify the shown token with.
    #[arg(long, requires = "show", value_name = "FILE")]
    token_jwks: Option<PathBuf>,
}

/// The command.
pub fn command() -> Command {
    Token::augment_args(Command::new("token"))
        .about("Makes a token for trying things out, or shows what one is worth")
        .after_help(EXAMPLES)
}

/// Makes one, or shows one.
pub fn run(args: &Token) -> Result<(), Failure> {
    match (&args.key_file, &args.show) {
        (Some(file), _) => make(args, file),
        (None, Some(token)) => show(args, token),
        (None, None) => unreachable!("clap wants one of the two"),
    }
}

fn make(args: &Token, file: &Path) -> Result<(), Failure> {
    let signer = Signer::from_key_file(&contents(file)?)
        .map_err(|why| Failure::usage(format!("{} {why}", file.display())))?;
    let algorithm = signer.algorithm();
    if let Some(wanted) = args.alg.as_deref().filter(|wanted| *wanted != algorithm) {
        let text = format!("{} is a key for {algorithm}, not for {wanted}", file.display());
        return Err(Failure::usage(text));
    }
    let lifetime = duration(&args.lifetime).map_err(|why| {
        Failure::usage(format!("--for: '{}' {why}; write it like 1h", args.lifetime))
    })?;
    let mut claims = Map::new();
    let mut say = |name: &str, value: Value| {
        let is_nothing = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if !is_nothing {
            claims.insert(name.to_owned(), value);
        }
    };
    say("iat", now().into());
    say("exp", (now() + lifetime.as_secs()).into());
    say("sub", json!(args.sub));
    say("iss", json!(args.iss));
    say("aud", json!(args.aud));
    say("subscribe", json!(args.subscribe));
    say("publish", json!(args.publish));
    say("connections", json!(args.connections));
    say("publish_rate", json!(args.publish_rate));
    say("control", json!(args.control));
    let token = signer.sign(&claims.into(), args.kid.as_deref());
    let token = token.ok_or_else(|| Failure::failed("the machine has no random numbers"))?;
    hold_to_its_form(&token)?;
    print(format!("{token}\n"))
}

/// What no server would take is not made.
fn hold_to_its_form(token: &str) -> Result<(), Failure> {
    // Everything but the signature is looked at, with a key that is anybody's.
    let (_, claims) = read(token).ok_or_else(|| Failure::failed("the token cannot be read"))?;
    let anybody = b"a secret that everybody may know";
    let signer = Signer::from_key_file(anybody).map_err(Failure::failed)?;
    let keys = Keys::from_key_file(anybody).map_err(Failure::failed)?;
    let access = Access::new(keys, Expected::default(), ApiKeys::default());
    let copy = signer.sign(&claims, None).unwrap_or_default();
    access.verify(&copy, now()).map(drop).map_err(|why| {
        Failure::usage(format!(
            "no server would take this token: {} (channels are names, or beginnings with a * at the \
             end; --control is read or admin; --sub has 1 to 255 bytes)",
            why.label()
        ))
    })
}

fn show(args: &Token, token: &str) -> Result<(), Failure> {
    let token = token.trim();
    let Some((header, claims)) = read(token) else {
        return Err(Failure::usage("--show: this is no token, which is three parts of base64url"));
    };
    let verdict = verdict(args, token)?;
    let left = claims["exp"].as_f64().map(|exp| exp as i64 - now() as i64);
    let shown =
        json!({ "header": header, "claims": claims, "seconds_left": left, "verdict": verdict });
    print(format!("{shown:#}\n"))?;
    match &*verdict {
        "good" | UNVERIFIED => Ok(()),
        _ => Err(Failure::Told),
    }
}

fn verdict(args: &Token, token: &str) -> Result<String, Failure> {
    let mut keys = Keys::default();
    for (file, parse) in [
        (&args.token_key, Keys::from_key_file as fn(&[u8]) -> _),
        (&args.token_jwks, Keys::from_jwks),
    ] {
        let Some(file) = file else { continue };
        let more = parse(&contents(file)?);
        keys = keys.and(more.map_err(|why| Failure::usage(format!("{} {why}", file.display())))?);
    }
    if keys.is_empty() {
        return Ok(UNVERIFIED.to_owned());
    }
    let text = |it: &Option<String>| it.as_deref().map(Box::from);
    let expected = Expected { issuer: text(&args.iss), audience: text(&args.aud) };
    let access = Access::new(keys, expected, ApiKeys::default());
    let refused = access.verify(token, now()).err();
    Ok(refused.map_or("good", |why| why.label()).to_owned())
}

fn contents(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(|why| Failure::usage(format!("cannot read {}: {why}", file.display())))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

const UNVERIFIED: &str = "not verified: give --token-key or --token-jwks";

const EXAMPLES: &str = "\
Prints the token alone. What is shown is JSON; the exit code is 1 if the token would be refused.

Examples:
  openssl rand -base64 32 > secret
  stentor token --key-file secret --subscribe 'news.*' --publish chat --sub alice --for 1h
  stentor subscribe news.world --token \"$(stentor token --key-file secret --subscribe 'news.*')\"
  stentor token --show \"$TOKEN\" --token-key secret
  openssl genpkey -algorithm ed25519 -out private.pem    then stentor token --key-file private.pem …";
