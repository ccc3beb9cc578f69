//! The address from which a repo is cloned and fetched, separate from the secret that it may
//! contain.
//!
//! An address may also come from a repo's own `.git/config`, which agents write, so it names a
//! plain transport and nothing else (`ext::` runs a command). Its secret is never shown, nor
//! written to the volume.

use std::fmt;

/// Transports that run nothing here but git and ssh.
const SCHEMES: [&str; 5] = ["https://", "http://", "ssh://", "git://", "file://"];

/// What is wrong with an address that has a secret, for people.
pub const WITH_SECRET: &str = "its `url` in the config holds a password, a token or a user name, for all who can read the config; take it out, and let git's credential helper or an ssh key supply it";

/// An address of a repo, shown without password or token.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    plain: String,
    whole: String,
}

impl Address {
    /// Parses an address as people give it to `git clone`.
    ///
    /// # Errors
    /// What is wrong, without quoting what was typed.
    pub fn new(typed: &str) -> Result<Self, &'static str> {
        const REMEDY: &str = "is no address; write one as for `git clone`: https://host/owner/name.git, git@host:owner/name.git or file:///path";
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '"');
        let scheme = SCHEMES.into_iter().find(|scheme| typed.starts_with(scheme));
        let plain = match scheme {
            Some("file://") => typed["file://".len()..]
                .starts_with('/')
                .then(|| typed.to_owned()),
            Some(scheme) => without_secret(scheme, &typed[scheme.len()..]),
            None => (is_path(typed) || is_ssh(typed)).then(|| typed.to_owned()),
        };
        let plain = plain.filter(|_| !typed.contains(odd)).ok_or(REMEDY)?;
        Ok(Self {
            plain,
            whole: typed.to_owned(),
        })
    }

    /// Returns the address without password or token, for display and for a checkout's config.
    pub fn plain(&self) -> &str {
        &self.plain
    }

    /// Returns whether it has a secret.
    pub fn has_secret(&self) -> bool {
        self.plain != self.whole
    }

    /// Returns the git setting that adds the secret, if there is one: its key and its value. Only
    /// for git.
    pub fn secret(&self) -> Option<(String, String)> {
        // The longest prefix wins, and this one is the whole address.
        self.has_secret()
            .then(|| (format!("url.{}.insteadOf", self.whole), self.plain.clone()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.plain, f)
    }
}

/// Removes the secret. Over ssh the user's name is not secret; elsewhere it may be a token.
fn without_secret(scheme: &str, rest: &str) -> Option<String> {
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/')?;
    let (user, host) = authority
        .rsplit_once('@')
        .map_or((None, authority), |(user, host)| (Some(user), host));
    let name = user
        .and_then(|user| user.split(':').next())
        .filter(|name| scheme == "ssh://" && !name.is_empty());
    let sound = is_host(host) && !path.is_empty() && name.is_none_or(|name| !name.starts_with('-'));
    sound.then(|| {
        format!(
            "{scheme}{}{host}/{path}",
            name.map(|name| format!("{name}@")).unwrap_or_default()
        )
    })
}

/// Returns whether it is `user@host:path`; `ext::` and the like have two colons.
fn is_ssh(typed: &str) -> bool {
    let Some((host, path)) = typed.split_once(':') else {
        return false;
    };
    let (user, host) = host.rsplit_once('@').unwrap_or(("git", host));
    let named = !user.is_empty() && !user.starts_with('-') && !user.contains('/');
    named
        && is_host(host)
        && !path.is_empty()
        && !path.starts_with([':', '-'])
        && !path.starts_with("//")
}

/// Returns whether it is a host name: an option in its place would be passed to ssh.
fn is_host(host: &str) -> bool {
    !host.is_empty() && !host.starts_with('-') && !host.contains('/')
}

fn is_path(typed: &str) -> bool {
    typed.len() > 1 && typed.starts_with('/') && !typed.contains("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_their_secrets() {
        for (typed, shown) in [
            ("https://host/acme/shop.git", "https://host/acme/shop.git"),
            (
                "https://me:SECRET@host/acme/shop.git",
                "https://host/acme/shop.git",
            ),
            ("https://SECRET@host:8443/a@b", "https://host:8443/a@b"),
            ("https://host/shop?token=SECRET#x", "https://host/shop"),
            ("ssh://git@host:22/acme/shop", "ssh://git@host:22/acme/shop"),
            (
                "ssh://git:SECRET@host/acme/shop",
                "ssh://git@host/acme/shop",
            ),
            ("git@host:acme/shop.git", "git@host:acme/shop.git"),
            ("host:shop", "host:shop"),
            ("file:///srv/shop.git", "file:///srv/shop.git"),
            ("/srv/shop.git", "/srv/shop.git"),
        ] {
            let address = Address::new(typed).unwrap();
            assert_eq!(
                (address.plain(), format!("{address} {address:?}")),
                (shown, format!("{shown} {shown:?}")),
                "{typed}"
            );
            assert_eq!(address.secret().is_some(), typed != shown, "{typed}");
        }
    }

    #[test]
    fn what_could_run_something_is_no_address() {
        for bad in [
            "",
            "/",
            "shop",
            "../shop",
            "ext::sh",
            "ext::sh -c touch% /tmp/x",
            "ext:://x",
            "/x::y",
            "-oProxyCommand=x",
            "-u:x",
            "-o@host:x",
            "host:-x",
            "host:",
            "ssh://-oProxyCommand=x/shop",
            "ssh://git@-x/shop",
            "ssh://-x@host/shop",
            "https://",
            "https://host",
            "https://host/",
            "https:///shop",
            "https://host/a b",
            "https://host/a\nb",
            "file://host/shop",
            "file:shop\"x",
            "ftp://host/x",
            "javascript://x/y",
        ] {
            assert!(Address::new(bad).is_err(), "{bad}");
        }
    }
}
