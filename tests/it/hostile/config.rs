//! Config keys with a command, a path or a rule that a run must not follow, in every place from
//! which git reads a config.
//!
//! The last word of a row is a plain git command that runs the canary in the same repo, if there is
//! such a command without a network, a terminal or a newer git: see `the_canaries_can_sing`.

use super::super::support::write;
use super::{Case, FINE, evil::Evil, refused};

/// A git command that runs the canary.
type Sings = &'static str;

/// What the config says, and what runs its canary.
const COMMANDS: &[(&[&str], Sings)] = &[
    (&["core.fsmonitor={}"], "status"),
    (&["core.fsmonitor=true"], ""),
    (&["core.hooksPath={hooks}"], "pack-refs --all"),
    (&["core.sshCommand={}"], "fetch ssh://nowhere/x"),
    (&["core.gitProxy={}"], "fetch git://nowhere/x"),
    (&["core.editor={}"], ""),
    (&["core.pager={}"], ""),
    (&["core.askPass={}"], ""),
    (&["core.alternateRefsCommand={}"], ""),
    (
        &[
            "core.attributesFile={outside}/attributes",
            "filter.evil.clean={}",
        ],
        "add -A",
    ),
    (&["core.excludesFile={outside}/everything"], ""),
    (
        &[
            "alias.gc=!{}",
            "alias.repack=!{}",
            "alias.config=!{}",
            "alias.x=!{}",
        ],
        "x",
    ),
    (&["filter.evil.clean={}"], "add -A"),
    (&["filter.evil.smudge={}"], "checkout-index -f -a"),
    (&["filter.evil.process={}"], "add -A"),
    (
        &["filter.evil.clean={}", "filter.evil.required=true"],
        "add -A",
    ),
    (
        &[
            "filter.lfs.process={}",
            "filter.lfs.clean={}",
            "lfs.customtransfer.x.path={}",
        ],
        "",
    ),
    (&["diff.evil.textconv={}"], "show HEAD"),
    (&["diff.evil.command={}"], "show --ext-diff HEAD"),
    (&["diff.external={}"], "show --ext-diff HEAD"),
    (&["merge.evil.driver={}", "merge.default=evil"], ""),
    (
        &[
            "merge.tool=evil",
            "mergetool.evil.cmd={}",
            "mergetool.evil.path={}",
        ],
        "",
    ),
    (
        &[
            "diff.tool=evil",
            "difftool.evil.cmd={}",
            "difftool.evil.path={}",
            "diff.guitool=evil",
        ],
        "",
    ),
    (
        &[
            "guitool.evil.cmd={}",
            "browser.evil.cmd={}",
            "man.evil.cmd={}",
            "web.browser={}",
            "instaweb.httpd={}",
        ],
        "",
    ),
    (&["gpg.program={}"], "commit -q --allow-empty -S -m signed"),
    (
        &[
            "gpg.openpgp.program={}",
            "commit.gpgSign=true",
            "tag.gpgSign=true",
            "push.gpgSign=true",
        ],
        "commit -q --allow-empty -m signed",
    ),
    (
        &[
            "gpg.format=ssh",
            "gpg.ssh.program={}",
            "user.signingKey={outside}/key",
        ],
        "commit -q --allow-empty -S -m signed",
    ),
    (
        &["gpg.format=ssh", "gpg.ssh.defaultKeyCommand={}"],
        "commit -q --allow-empty -S -m signed",
    ),
    (
        &[
            "gpg.format=x509",
            "gpg.x509.program={}",
            "commit.gpgSign=true",
        ],
        "commit -q --allow-empty -m signed",
    ),
    (
        &[
            "gpg.ssh.allowedSignersFile={outside}/fifo",
            "gpg.ssh.revocationFile={outside}/fifo",
            "log.showSignature=true",
        ],
        "",
    ),
    (&["credential.helper=!{}"], ""),
    (&["credential.https://example.com.helper={}"], ""),
    (
        &["protocol.ext.allow=always", "remote.evil.url=ext::{} x"],
        "fetch evil",
    ),
    (
        &["protocol.allow=always", "url.ext::{} .insteadOf=https://"],
        "fetch https://nowhere/x",
    ),
    (
        &[
            "protocol.allow=always",
            "url.ext::{} .pushInsteadOf=https://",
        ],
        "push https://nowhere/x main",
    ),
    (&["remote.origin.uploadpack={}"], "fetch"),
    (&["remote.origin.receivepack={}"], "push origin main"),
    (&["remote.origin.vcs=evil"], ""),
    (
        &[
            "remote.origin.proxy=https://nowhere",
            "http.proxy=https://nowhere",
            "http.sslKey={outside}/fifo",
        ],
        "",
    ),
    (&["uploadpack.packObjectsHook={}"], ""),
    (
        &["gc.recentObjectsHook={}"],
        "hash-object -w README.md && prune --expire=now",
    ),
    (
        &[
            "sendemail.ccCmd={}",
            "sendemail.toCmd={}",
            "sendemail.headerCmd={}",
            "sendemail.smtpServer={}",
            "sendemail.sendmailCmd={}",
        ],
        "",
    ),
    (
        &[
            "imap.tunnel={}",
            "svn.authorsProg={}",
            "gitcvs.dbDriver={}",
            "git-p4.client={}",
        ],
        "",
    ),
    (&["sequence.editor={}"], ""),
    (&["interactive.diffFilter={}"], ""),
    (
        &[
            "pager.gc={}",
            "pager.repack={}",
            "pager.config={}",
            "pager.reflog={}",
            "pager.cat-file={}",
        ],
        "",
    ),
    (
        &[
            "submodule.x.update=!{}",
            "submodule.x.url=ext::{} x",
            "submodule.recurse=true",
            "submodule.x.active=true",
        ],
        "",
    ),
    // Git 2.54 and later.
    (
        &[
            "hook.evil.command={}",
            "hook.evil.event=reference-transaction",
            "hook.more.command={}",
            "hook.more.event=post-index-change",
        ],
        "",
    ),
    (&["tar.evil.command={}"], "archive --format=evil HEAD"),
    (&["trailer.evil.command={}", "trailer.evil.cmd={}"], ""),
    (&["init.templateDir={hooks}"], ""),
    (
        &[
            "maintenance.gc.enabled=true",
            "maintenance.auto=true",
            "maintenance.strategy=incremental",
            "gc.auto=1",
            "gc.autoDetach=true",
        ],
        "",
    ),
    (
        &[
            "help.autoCorrect=immediate",
            "help.browser={}",
            "completion.commands={}",
        ],
        "",
    ),
    (
        &[
            "bundle.evil.uri=file://{outside}/fifo",
            "fetch.bundleURI=file://{outside}/fifo",
            "transfer.bundleURI=true",
        ],
        "",
    ),
    (
        &[
            "trace2.eventTarget={outside}/trace",
            "trace2.normalTarget={outside}/trace",
            "trace2.perfTarget=af_unix:{outside}/fifo",
        ],
        "",
    ),
    (
        &[
            "fsmonitor.socketDir={outside}",
            "fsmonitor.allowRemote=true",
            "core.fsmonitorHookVersion=2",
            "core.fsmonitor={}",
        ],
        "status",
    ),
    (
        &[
            "gc.repackFilter=blob:none",
            "gc.repackFilterTo={outside}/filtered",
        ],
        "",
    ),
    (
        &[
            "mailmap.file={outside}/fifo",
            "blame.ignoreRevsFile={outside}/fifo",
            "fsck.skipList={outside}/fifo",
            "diff.orderFile={outside}/fifo",
        ],
        "",
    ),
    (
        &[
            "commit.template={outside}/fifo",
            "format.signatureFile={outside}/fifo",
            "http.cookieFile={outside}/fifo",
        ],
        "",
    ),
    (&["include.path={outside}/fifo"], ""),
    (&["include.path=/dev/zero"], ""),
    (
        &[
            "includeIf.gitdir:/.path={outside}/fifo",
            "includeIf.onbranch:**.path={outside}/fifo",
        ],
        "",
    ),
    (&["safe.bareRepository=explicit", "safe.directory="], ""),
];

/// Rules that would lose something, or make a run cost too much.
const RULES: &[&[&str]] = &[
    // A partial clone: git would fetch the missing objects by a command of the agent's.
    &[
        "core.repositoryFormatVersion=1",
        "extensions.partialClone=origin",
        "remote.origin.promisor=true",
        "remote.origin.partialclonefilter=blob:none",
        "remote.origin.vcs={}",
    ],
    &[
        "gc.pruneExpire=now",
        "gc.reflogExpire=now",
        "gc.reflogExpireUnreachable=now",
        "gc.refs/*.reflogExpire=now",
    ],
    &["gc.worktreePruneExpire=now", "worktree.guessRemote=true"],
    &[
        "gc.cruftPacks=false",
        "gc.maxCruftSize=1",
        "gc.bigPackThreshold=1",
        "gc.packRefs=false",
        "gc.logExpiry=never",
    ],
    &[
        "repack.packKeptObjects=true",
        "repack.updateServerInfo=true",
        "repack.useDeltaIslands=true",
        "repack.writeBitmaps=true",
    ],
    &[
        "pack.packSizeLimit=1",
        "pack.window=1000000",
        "pack.depth=4095",
        "pack.threads=4096",
        "pack.indexVersion=1",
        "pack.windowMemory=64g",
    ],
    &[
        "core.fsync=none",
        "core.fsyncMethod=batch",
        "core.compression=9",
        "core.bigFileThreshold=1",
        "core.packedGitLimit=1",
    ],
    &[
        "core.ignoreCase=true",
        "core.fileMode=false",
        "core.symlinks=false",
        "core.trustctime=false",
        "core.checkStat=minimal",
    ],
    &[
        "core.autocrlf=true",
        "core.eol=crlf",
        "core.safecrlf=true",
        "i18n.commitEncoding=utf-16",
        "core.commentChar=auto",
    ],
    &["core.bare=true"],
    &[
        "core.sparseCheckout=true",
        "core.sparseCheckoutCone=true",
        "index.sparse=true",
        "core.splitIndex=true",
        "splitIndex.sharedIndexExpire=now",
    ],
    &[
        "core.preferSymlinkRefs=true",
        "core.filesRefLockTimeout=-1",
        "core.packedRefsTimeout=-1",
        "core.logAllRefUpdates=false",
    ],
    &[
        "core.useReplaceRefs=true",
        "core.commitGraph=false",
        "core.multiPackIndex=false",
        "core.maxTreeDepth=1",
        "core.sharedRepository=0777",
    ],
    &[
        "feature.manyFiles=true",
        "feature.experimental=true",
        "index.version=4",
        "index.skipHash=true",
        "core.untrackedCache=true",
    ],
    &[
        "status.showUntrackedFiles=no",
        "core.quotePath=false",
        "advice.detachedHead=maybe",
        "color.ui=always",
        "log.date=format:\u{1b}[31m",
    ],
    &[
        "user.name=\u{1b}]0;owned\u{7}",
        "user.email=\n",
        "author.name=",
        "committer.email=",
    ],
    &[
        "core.repositoryFormatVersion=1",
        "extensions.noop=true",
        "extensions.relativeWorktrees=true",
        "extensions.worktreeConfig=true",
    ],
    &[
        "gc.auto=bad",
        "pack.threads=bad",
        "core.compression=1000",
        "core.abbrev=-1",
        "core.fsyncObjectFiles=perhaps",
    ],
    &[
        "attr.tree=refs/heads/main",
        "rerere.enabled=true",
        "notes.rewriteRef=refs/*",
        "receive.procReceiveRefs=refs",
        "transfer.hideRefs=refs",
    ],
];

/// Keys that change the meaning of a repo are refused by name.
const REFUSED: &[(&[&str], &str)] = &[
    (&["core.worktree={outside}"], "core.worktree"),
    (&["core.worktree=../../acme__victim"], "core.worktree"),
    (&["CORE.WorkTree=/"], "core.worktree"),
    (&["core.repositoryFormatVersion=2"], "unknown to treewarden"),
    (
        &["core.repositoryFormatVersion=-1"],
        "unknown to treewarden",
    ),
    (&["extensions.refStorage=reftable"], "extensions.refstorage"),
    (
        &["extensions.objectFormat=sha256"],
        "extensions.objectformat",
    ),
    (
        &["extensions.compatObjectFormat=sha256"],
        "objects with two names",
    ),
    (&["extensions.preciousObjects=true"], "must not be deleted"),
    (&["extensions.\u{9b}31m=\u{1b}[31m"], "is malformed"),
    (&["filter.git-crypt.clean={}"], "encrypted files"),
];

/// Returns all cases of this file.
pub(super) fn cases() -> Vec<Case> {
    let name = |prefix: &str, number: usize, settings: &[&str]| {
        let key = settings.last().unwrap().split('=').next().unwrap();
        let key: String = key
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        format!("{prefix}{number}-{}", key.to_lowercase())
    };
    let commands = COMMANDS
        .iter()
        .enumerate()
        .map(|(number, (settings, sings))| {
            let case = Case::new(&name("cmd", number, settings), FINE, "", |evil: &Evil| {
                write(
                    &evil.outside().join("attributes"),
                    "* filter=evil diff=evil merge=evil\n",
                );
                write(&evil.outside().join("everything"), "*\n");
                // Gives the filter something to do in the main checkout when the canary is tried.
                write(
                    &evil.git_dir("info/attributes"),
                    "* filter=evil diff=evil merge=evil\n",
                );
                evil.configure(&evil.git_dir("config"), settings);
            });
            case.sings(sings)
        });
    let rules = RULES.iter().enumerate().map(|(number, settings)| {
        Case::new(&name("rule", number, settings), FINE, "", |evil: &Evil| {
            evil.configure(&evil.git_dir("config"), settings);
        })
    });
    let refused_ones = REFUSED
        .iter()
        .enumerate()
        .map(|(number, (settings, words))| {
            Case::new(
                &name("ext", number, settings),
                refused(),
                words,
                |evil: &Evil| evil.configure(&evil.git_dir("config"), settings),
            )
        });
    commands
        .chain(rules)
        .chain(refused_ones)
        .chain(places())
        .collect()
}

/// Returns cases with the same keys in the other places where git would look for them.
#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
fn places() -> Vec<Case> {
    const EVIL: &[&str] = &[
        "core.fsmonitor={}",
        "core.hooksPath={hooks}",
        "filter.evil.clean={}",
        "gc.recentObjectsHook={}",
        "gc.pruneExpire=now",
    ];
    let included = |name: &str, condition: &'static str| {
        let case = Case::new(name, FINE, "", move |evil: &Evil| {
            let file = evil.git_dir("included");
            evil.configure(&file, EVIL);
            evil.configure(&evil.git_dir("config"), &[condition]);
        });
        case.sings("status")
    };
    vec![
        included("include", "include.path=included"),
        included("include-gitdir", "includeIf.gitdir:/.path=included"),
        included("include-onbranch", "includeIf.onbranch:**.path=included"),
        included(
            "include-hasconfig",
            "includeIf.hasconfig:remote.*.url:**.path=included",
        ),
        Case::new(
            "worktree-config",
            "Maintained keep reap",
            "",
            |evil: &Evil| {
                evil.configure(&evil.git_dir("config"), &["extensions.worktreeConfig=true"]);
                for file in [
                    "config.worktree",
                    "worktrees/landed/config.worktree",
                    "worktrees/dirty/config.worktree",
                ] {
                    evil.configure(&evil.git_dir(file), EVIL);
                }
            },
        )
        .sings("status"),
        Case::new("admin-config", "Maintained keep keep", "", |evil: &Evil| {
            for file in [
                "worktrees/landed/config",
                "worktrees/dirty/config",
                "modules/x/config",
                "objects/config",
                "refs/../config.local",
            ] {
                evil.configure(&evil.git_dir(file), EVIL);
            }
        }),
        Case::new("include-of-itself", FINE, "", |evil: &Evil| {
            evil.configure(&evil.git_dir("config"), &["include.path=config"]);
        }),
        Case::new("config-in-the-tree", FINE, "", |evil: &Evil| {
            for file in [".gitconfig", ".git.config", "config", ".lfsconfig"] {
                evil.configure(&evil.repo.path.join(file), EVIL);
                evil.configure(&evil.dirty.path.join(file), EVIL);
            }
            evil.configure(
                &evil.dirty.path.join(".gitmodules"),
                &[
                    "submodule.x.path=x",
                    "submodule.x.update=!{}",
                    "submodule.x.url=ext::{} x",
                ],
            );
        }),
        // Git searches upwards for a repo, and a bare one may be anywhere.
        Case::new("a-bare-repo-around", FINE, "", |evil: &Evil| {
            for directory in ["objects", "refs/heads"] {
                std::fs::create_dir_all(evil.repo.path.join(directory)).unwrap();
            }
            write(&evil.repo.path.join("HEAD"), "ref: refs/heads/main\n");
            evil.configure(
                &evil.repo.path.join("config"),
                &[EVIL, &["core.bare=true", "core.worktree=/"]].concat(),
            );
        }),
        Case::new(
            "config-without-an-end",
            refused(),
            "is malformed",
            |evil: &Evil| {
                write(&evil.git_dir("config"), "[core]\n\tfsmonitor = \"\u{1b}[2J");
            },
        ),
        Case::new(
            "config-with-nul",
            refused(),
            "core.worktree",
            |evil: &Evil| {
                write(
                    &evil.git_dir("config"),
                    "[core]\n\tbare = false\u{0}\n\tworktree = /\n",
                );
            },
        ),
        Case::new("config-with-a-mark", FINE, "", |evil: &Evil| {
            write(
                &evil.git_dir("config"),
                evil.fill("\u{feff}[core]\r\n\tfsmonitor = {}\r\n"),
            );
        })
        .sings("status"),
    ]
}
