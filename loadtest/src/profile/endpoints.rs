//! What the command line says, over what the profile says, as far as the plan needs it.

use std::path::PathBuf;

use rustls::pki_types::ServerName;

use super::{
    PathTemplate, Profile, ProfileError, Wanted,
    header::{Header, laid_over},
    secret::{self, Given},
    url::{Site, Url},
};
use crate::{
    decoder::Transport,
    options::spelled,
    order::{AUTHORIZATION, Endpoints, Publish, Secret, Subscribe},
    plan::{CHANNEL, Plan},
    tls::{Flaw, Tls, Trust},
};

/// Where to subscribe and publish.
pub fn find(
    profile: &Profile,
    name: &str,
    wanted: &Wanted,
    plan: &Plan,
) -> Result<Endpoints, ProfileError> {
    let targets = targets(wanted, plan)?;
    let search = Search { profile, name, wanted, plan, targets };
    let subscribe = plan
        .transports
        .iter()
        .map(|&(transport, _)| search.subscribe(transport).map(|subscribe| (transport, subscribe)));
    let subscribe = subscribe.collect::<Result<Vec<_>, _>>()?;
    let publish = search.publish()?;
    let publishing = publish.iter().filter_map(|it| it.tls.as_ref().map(|(tls, _)| tls));
    search.check_secure(subscribe.iter().filter_map(|(_, it)| it.tls.as_ref()), publishing)?;
    Ok(Endpoints { profile: name.to_owned(), subscribe, publish })
}

/// The targets of the command line: each for another transport, and each of use.
fn targets<'a>(wanted: &'a Wanted, plan: &Plan) -> Result<Vec<Url<'a>>, ProfileError> {
    let mut targets: Vec<Url<'a>> = Vec::new();
    for text in &wanted.targets {
        let mut target = Url::parse("target", text, TARGET)?;
        let is_spoken = |wanted| plan.transports.iter().any(|&(used, _)| used == wanted);
        let sibling = match target.transport {
            Transport::WebSocket => Transport::V1,
            _ => Transport::Poll,
        };
        if !is_spoken(target.transport) && is_spoken(sibling) {
            target.transport = sibling;
        }
        let transport = spelled(target.transport);
        if targets.iter().any(|known| known.transport == target.transport) {
            return Err(target.wrong(
                format!("is the second target for {transport}"),
                "write one target for each transport",
            ));
        }
        if !is_spoken(target.transport) {
            return Err(target.wrong(
                format!("is for {transport}, which no subscriber speaks"),
                format!("add --transport {transport}, or a mix like --transport ws=80,sse=20"),
            ));
        }
        targets.push(target);
    }
    Ok(targets)
}

/// All that is known of the server.
struct Search<'a> {
    profile: &'a Profile,
    name: &'a str,
    wanted: &'a Wanted,
    plan: &'a Plan,
    targets: Vec<Url<'a>>,
}

impl Search<'_> {
    fn subscribe(&self, transport: Transport) -> Result<Subscribe, ProfileError> {
        let target = self.targets.iter().find(|target| target.transport == transport);
        let site = match target {
            Some(target) => target.site,
            None => {
                self.site().ok_or_else(|| self.missing("target", "where the server is", TARGET))?
            }
        };
        let from_profile = match transport {
            Transport::WebSocket => &self.profile.ws,
            Transport::Sse => &self.profile.sse,
            Transport::Poll => &self.profile.poll,
            Transport::V1 => &self.profile.v1,
        };
        let Some(path) = path(target, from_profile) else {
            let (name, transport) = (self.name, spelled(transport));
            return Err(ProfileError::Missing {
                option: "target",
                problem: format!("the profile '{name}' has no path for {transport}"),
                right: format!("write one in the URL: {TARGET}"),
            });
        };
        self.check_channel("target", path)?;
        let tokens = self.tokens()?;
        let headers = self.profile.headers.iter().chain(&self.wanted.headers);
        let headers = without_authorization(laid_over(headers), !tokens.is_empty());
        Ok(Subscribe {
            address: site.address("target")?,
            host: site.authority(),
            path: path.to_owned(),
            headers,
            tls: site.is_secure.then(|| self.tls(site)).transpose()?,
            tokens,
        })
    }

    /// What TLS takes there.
    fn tls(&self, site: Site<'_>) -> Result<Tls, ProfileError> {
        let server_name = self.wanted.server_name.clone().unwrap_or_else(|| site.host.to_owned());
        if ServerName::try_from(&server_name[..]).is_err() {
            return Err(ProfileError::Wrong {
                option: "server-name",
                value: server_name,
                problem: "is no name that a certificate can have".to_owned(),
                right: "write a host's name, or its address".to_owned(),
            });
        }
        let (trust, value) = match (&self.wanted.authorities, self.wanted.is_insecure) {
            (_, true) => (Ok(Trust::Anybody), String::new()),
            (None, false) => (Trust::machine(), site.authority()),
            (Some(file), false) => (Trust::read(file), file.display().to_string()),
        };
        let trust = trust.map_err(|Flaw { problem, right }| ProfileError::Wrong {
            option: "ca",
            value,
            problem,
            right: right.to_owned(),
        })?;
        Ok(Tls { server_name, trust })
    }

    /// What is said of TLS is for those who speak it, and subscribers speak it to one host.
    fn check_secure<'a>(
        &self,
        mut subscribing: impl Iterator<Item = &'a Tls>,
        mut publishing: impl Iterator<Item = &'a Tls>,
    ) -> Result<(), ProfileError> {
        let Some(first) = subscribing.next() else {
            return publishing.next().map_or_else(|| self.nothing_is_said_of_tls(), |_| Ok(()));
        };
        match subscribing.find(|it| it.server_name != first.server_name) {
            None => Ok(()),
            Some(other) => Err(ProfileError::Wrong {
                option: "target",
                value: other.server_name.clone(),
                problem: format!("speaks TLS, and so does {}", first.server_name),
                right: "write the same host in all targets that speak TLS".to_owned(),
            }),
        }
    }

    fn nothing_is_said_of_tls(&self) -> Result<(), ProfileError> {
        let Wanted { authorities, is_insecure, server_name, .. } = self.wanted;
        let said = [
            ("ca", authorities.as_ref().map(|file| file.display().to_string())),
            ("server-name", server_name.clone()),
            ("insecure", is_insecure.then(|| true.to_string())),
        ];
        match said.into_iter().find_map(|(option, value)| Some((option, value?))) {
            None => Ok(()),
            Some((option, value)) => Err(ProfileError::Wrong {
                option,
                value,
                problem: "is for TLS, which neither target nor publish speaks".to_owned(),
                right: "write --target wss://HOST:PORT, or leave it out".to_owned(),
            }),
        }
    }

    /// The tokens that subscribers show.
    fn tokens(&self) -> Result<Vec<Secret>, ProfileError> {
        let Wanted { token, token_file, headers, .. } = self.wanted;
        let Some((option, given)) = given(("token", token), ("token-file", token_file)) else {
            return Ok(Vec::new());
        };
        is_shown_once(option, "header", headers)?;
        secret::read(option, &given)
    }

    /// The key that publications show.
    fn key(&self) -> Result<Option<Secret>, ProfileError> {
        let Wanted { api_key, api_key_file, publish_headers, .. } = self.wanted;
        let Some((option, given)) = given(("api-key", api_key), ("api-key-file", api_key_file))
        else {
            return Ok(None);
        };
        is_shown_once(option, "publish-header", publish_headers)?;
        secret::read_one(option, &given).map(Some)
    }

    fn publish(&self) -> Result<Option<Publish>, ProfileError> {
        if self.wanted.is_through_bus {
            return self.nothing_else_is_said();
        }
        if !self.plan.publishes() {
            return Ok(None);
        }
        let given = self.wanted.publish.as_deref();
        let given = given.map(|text| Url::parse("publish", text, PUBLISH)).transpose()?;
        if let Some(url) = given.filter(|url| url.transport == Transport::WebSocket) {
            return Err(url.wrong("is for WebSocket", format!("write {PUBLISH}")));
        }
        let site = match &given {
            Some(url) => Some(url.site),
            // Another port than the subscribers' speaks TLS only where somebody says so.
            None => self.site().map(|site| match self.profile.publish_port {
                Some(port) => Site { port, is_secure: false, ..site },
                None => site,
            }),
        };
        let path = path(given.as_ref(), &self.profile.publish);
        let (Some(site), Some(path)) = (site, path) else {
            return Err(self.missing("publish", "where to publish", PUBLISH));
        };
        self.check_channel("publish", path)?;
        let address = site.address("publish")?;
        let key = self.key()?;
        let headers = self.profile.publish_headers.iter().chain(&self.wanted.publish_headers);
        let mut headers = without_authorization(laid_over(headers), key.is_some());
        let tls = site.is_secure.then(|| self.tls(site)).transpose()?;
        let name = tls.as_ref().map_or(site.host, |tls| &tls.server_name);
        if name != site.host {
            headers.push(("Host".to_owned(), site.authority()));
        }
        let scheme = if site.is_secure { "https" } else { "http" };
        let authority = Site { host: name, ..site }.authority();
        Ok(Some(Publish {
            method: self.profile.publish_method.text().to_owned(),
            url: format!("{scheme}://{authority}{path}"),
            headers,
            tls: tls.map(|tls| (tls, address)),
            key,
        }))
    }

    /// What is said of publishing by HTTP would be of no use.
    fn nothing_else_is_said(&self) -> Result<Option<Publish>, ProfileError> {
        let Wanted { publish, publish_headers, api_key, api_key_file, .. } = self.wanted;
        let header = publish_headers.first().map(|_| ("publish-header", "a header"));
        let publish = publish.as_deref().map(|url| ("publish", url));
        let key = given(("api-key", api_key), ("api-key-file", api_key_file));
        let key = key.map(|(option, _)| (option, "a key"));
        match publish.or(header).or(key) {
            None => Ok(None),
            Some((option, value)) => Err(ProfileError::Wrong {
                option,
                value: value.to_owned(),
                problem: "is for HTTP, and publish-to has publications go through a bus".to_owned(),
                right: format!("leave out --{option} or --publish-to"),
            }),
        }
    }

    /// Where the server is: where the first target is, or else where the profile says.
    fn site(&self) -> Option<Site<'_>> {
        let usual = || {
            let host = self.profile.host.as_deref()?;
            Some(Site { host, port: self.profile.port.unwrap_or(80), is_secure: false })
        };
        self.targets.first().map(|target| target.site).or_else(usual)
    }

    /// Without the channel in it, a path leads all subscribers to the same place.
    fn check_channel(&self, option: &'static str, path: &str) -> Result<(), ProfileError> {
        let channels = self.plan.channels();
        if path.contains(CHANNEL) || channels == 1 {
            return Ok(());
        }
        Err(ProfileError::Wrong {
            option,
            value: path.to_owned(),
            problem: format!("is the same for all of the plan's {channels} channels"),
            right: format!("write {CHANNEL} where a channel's name goes"),
        })
    }

    fn missing(&self, option: &'static str, unknown: &str, right: &str) -> ProfileError {
        ProfileError::Missing {
            option,
            problem: format!("the profile '{}' does not say {unknown}", self.name),
            right: format!("add --{option} {right}"),
        }
    }
}

/// The URL's own path, or the profile's. A slash alone is a path only if there is no other.
fn path<'a>(url: Option<&Url<'a>>, profile: &'a Option<PathTemplate>) -> Option<&'a str> {
    let own = url.map_or("", |url| url.path);
    let usual = profile.as_ref().map(|path| &path.0[..]);
    match own {
        "" => usual,
        "/" => usual.or(Some(own)),
        _ => Some(own),
    }
}

/// The option that gives a secret, if one does.
fn given<'a>(
    (text_option, text): (&'static str, &'a Option<Secret>),
    (file_option, file): (&'static str, &'a Option<PathBuf>),
) -> Option<(&'static str, Given<'a>)> {
    let text = text.as_ref().map(|text| (text_option, Given::Text(text)));
    text.or_else(|| file.as_ref().map(|file| (file_option, Given::File(file))))
}

/// Who shows a token or a key says nothing else in its header.
fn is_shown_once(
    option: &'static str,
    other: &'static str,
    headers: &[Header],
) -> Result<(), ProfileError> {
    match headers.iter().find(|it| it.name.eq_ignore_ascii_case(AUTHORIZATION)) {
        None => Ok(()),
        Some(header) => Err(ProfileError::Wrong {
            option: other,
            value: header.name.clone(),
            problem: format!("is what --{option} writes"),
            right: format!("leave out --{option} or the header"),
        }),
    }
}

/// These headers, without what a token or a key takes the place of, if there is one.
fn without_authorization(
    mut headers: Vec<(String, String)>,
    is_shown: bool,
) -> Vec<(String, String)> {
    headers.retain(|(name, _)| !(is_shown && name.eq_ignore_ascii_case(AUTHORIZATION)));
    headers
}

/// What a target looks like.
const TARGET: &str = "ws://HOST:PORT/PATH/{channel}, or http:// for Server-Sent Events";
/// What a URL to publish at looks like.
const PUBLISH: &str = "http://HOST:PORT/PATH/{channel}";
