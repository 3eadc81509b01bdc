//! What the command line says, over what the profile says, as far as the plan needs it.

use super::{
    PathTemplate, Profile, ProfileError, Wanted,
    header::laid_over,
    url::{Site, Url},
};
use crate::{
    decoder::Transport,
    options::spelled,
    order::{Endpoints, Publish, Subscribe},
    plan::{CHANNEL, Plan},
    tls::Tls,
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
    search.check_secure(&subscribe)?;
    Ok(Endpoints { profile: name.to_owned(), subscribe, publish: search.publish()? })
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
        Ok(Subscribe {
            address: site.address("target")?,
            host: site.authority(),
            path: path.to_owned(),
            headers: laid_over(self.profile.headers.iter().chain(&self.wanted.headers)),
            tls: site.is_secure.then(|| self.tls(site)).transpose()?,
        })
    }

    /// Whom subscribers trust there.
    fn tls(&self, site: Site<'_>) -> Result<Tls, ProfileError> {
        let Some(authorities) = &self.wanted.authorities else {
            return Err(ProfileError::Missing {
                option: "ca",
                problem: format!("{} speaks TLS, and no authority is trusted", site.authority()),
                right: "add --ca FILE with the certificate of the server's authority, in PEM"
                    .to_owned(),
            });
        };
        Tls::read(site.host, authorities).map_err(|flaw| ProfileError::Wrong {
            option: "ca",
            value: authorities.display().to_string(),
            problem: flaw.problem,
            right: flaw.right.to_owned(),
        })
    }

    /// Authorities are for TLS, and it is spoken to one host.
    fn check_secure(&self, subscribe: &[(Transport, Subscribe)]) -> Result<(), ProfileError> {
        let mut secure = subscribe.iter().filter_map(|(_, it)| it.tls.as_ref());
        let Some(first) = secure.next() else {
            let Some(authorities) = &self.wanted.authorities else { return Ok(()) };
            return Err(ProfileError::Wrong {
                option: "ca",
                value: authorities.display().to_string(),
                problem: "is for TLS, which no target speaks".to_owned(),
                right: "write --target wss://HOST:PORT, or leave it out".to_owned(),
            });
        };
        match secure.find(|it| it.server_name != first.server_name) {
            None => Ok(()),
            Some(other) => Err(ProfileError::Wrong {
                option: "target",
                value: other.server_name.clone(),
                problem: format!("speaks TLS, and so does {}", first.server_name),
                right: "write the same host in all targets that speak TLS".to_owned(),
            }),
        }
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
        if let Some(url) = given.filter(|url| url.site.is_secure) {
            return Err(
                url.wrong("needs TLS, which publishers do not speak", format!("write {PUBLISH}"))
            );
        }
        let site = match &given {
            Some(url) => Some(url.site),
            // Publishers speak no TLS: where the port for them is not known, it is not guessed.
            None => self.site().and_then(|site| {
                let subscribers = Some(site.port).filter(|_| !site.is_secure);
                let port = self.profile.publish_port.or(subscribers)?;
                Some(Site { port, is_secure: false, ..site })
            }),
        };
        let path = path(given.as_ref(), &self.profile.publish);
        let (Some(site), Some(path)) = (site, path) else {
            return Err(self.missing("publish", "where to publish", PUBLISH));
        };
        self.check_channel("publish", path)?;
        site.address("publish")?;
        let own = &self.profile.publish_headers;
        Ok(Some(Publish {
            method: self.profile.publish_method.text().to_owned(),
            url: format!("http://{}{path}", site.authority()),
            headers: laid_over(own.iter().chain(&self.wanted.publish_headers)),
        }))
    }

    /// What is said of publishing by HTTP would be of no use.
    fn nothing_else_is_said(&self) -> Result<Option<Publish>, ProfileError> {
        let header = self.wanted.publish_headers.first().map(|_| ("publish-header", "a header"));
        let publish = self.wanted.publish.as_deref().map(|url| ("publish", url));
        match publish.or(header) {
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

/// What a target looks like.
const TARGET: &str = "ws://HOST:PORT/PATH/{channel}, or http:// for Server-Sent Events";
/// What a URL to publish at looks like.
const PUBLISH: &str = "http://HOST:PORT/PATH/{channel}";
