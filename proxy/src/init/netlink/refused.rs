//! What the kernel said no to, and what an operator can do about it.

use std::fmt;

use nix::errno::Errno;

/// Why the kernel did not take the rules. Nothing was changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    step: String,
    errno: Errno,
}

impl Refused {
    pub(super) fn new(step: impl Into<String>, errno: Errno) -> Self {
        Self {
            step: step.into(),
            errno,
        }
    }

    /// Whether the kernel lacks what was asked for, whoever asks.
    pub(in crate::init) fn is_unsupported(&self) -> bool {
        matches!(
            self.errno,
            Errno::EPROTONOSUPPORT
                | Errno::EAFNOSUPPORT
                | Errno::EOPNOTSUPP
                | Errno::ENOPROTOOPT
                | Errno::ENOENT
        )
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the system has more than a hundred errors, and may get more"
    )]
    fn advice(&self) -> &'static str {
        match self.errno {
            Errno::EPERM | Errno::EACCES => {
                "It needs root and the capability NET_ADMIN: runAsUser 0 and capabilities.add \
                 [NET_ADMIN] in this container's securityContext, and a namespace whose Pod \
                 Security level allows that (privileged)."
            }
            Errno::EPROTONOSUPPORT
            | Errno::EAFNOSUPPORT
            | Errno::EOPNOTSUPP
            | Errno::ENOPROTOOPT => {
                "This node's kernel has no nf_tables, or may not load it. On the node, not in \
                 the pod: modprobe -a nf_tables nft_chain_nat nft_redir nf_nat, and the same \
                 names in /etc/modules-load.d/mesh.conf for the next start. If the modules do \
                 not exist, the node needs a kernel built with CONFIG_NF_TABLES, \
                 CONFIG_NFT_NAT, CONFIG_NFT_REDIR and CONFIG_NF_NAT; until then keep injected \
                 pods off it by a taint or a node selector."
            }
            Errno::ENOENT => {
                "This node's kernel has nf_tables but not all of its NAT. On the node, not in \
                 the pod: modprobe -a nft_chain_nat nft_redir nf_nat (and nf_conntrack), and \
                 the same names in /etc/modules-load.d/mesh.conf for the next start."
            }
            Errno::EMSGSIZE | Errno::ENOBUFS | Errno::ENOMEM => {
                "There are too many rules for one transaction: give fewer ports, or ranges of \
                 addresses instead of many single ones."
            }
            _ => "`proxy init --dry-run` shows the rules; `nft -f` on the node may say more.",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this pod's traffic is not captured, and nothing was changed: {}: {} ({:?}). {}",
            self.step,
            self.errno.desc(),
            self.errno,
            self.advice()
        )
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_the_way_out() {
        let cases = [
            (Errno::EPERM, "NET_ADMIN"),
            (Errno::EPROTONOSUPPORT, "modprobe -a nf_tables"),
            (Errno::EOPNOTSUPP, "kernel has no nf_tables"),
            (Errno::EAFNOSUPPORT, "/etc/modules-load.d"),
            (Errno::ENOENT, "nft_redir"),
            (Errno::EMSGSIZE, "too many rules"),
            (Errno::EINVAL, "--dry-run"),
        ];
        for (errno, expected) in cases {
            let refused = Refused::new("creating the IPv4 chain output for NAT", errno);
            let text = refused.to_string();
            assert!(text.contains(expected), "{errno}: {text}");
            assert!(text.contains("nothing was changed"), "{text}");
            assert!(text.contains("chain output"), "{text}");
        }
    }
}
