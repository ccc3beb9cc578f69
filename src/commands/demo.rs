//! The demo: a throwaway volume with a repo in every state, and one run on it.
//!
//! Everything is real: repos and worktrees made by git2, caches in the layouts of their tools,
//! files with old timestamps. It builds only in a directory of its own.

use crate::commands::init::prepare;
use crate::config;
use crate::fs::clock;
use crate::fs::stop::Stop;
use crate::lock::{LockError, LockedRepo};
use crate::plan::repo::Only;
use crate::report::RunReport;
use crate::run::{self, Options};
use crate::state::volume::VolumeError;
use chrono::{DateTime, TimeDelta, Utc};
use git2::{Commit, Oid, Repository, RepositoryInitOptions, Signature, Time, WorktreeAddOptions};
use indicatif::ProgressBar;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The result of a demo, for people to explore.
#[derive(Debug)]
pub struct Demo {
    /// The directory of the volume and its config.
    pub directory: PathBuf,
    /// The run's report.
    pub report: RunReport,
}

/// Why the demo could not be built.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Something is there already.
    #[error("`{}` is there already; name a directory that isn't, which the demo then makes", .0.display())]
    Exists(PathBuf),
    /// A file or directory.
    #[error("failed to build the sample volume: {0}")]
    Io(#[from] io::Error),
    /// A repo.
    #[error("failed to build a sample repo: {}", .0.message())]
    Git(#[from] git2::Error),
    /// The config.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// The volume.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The simulated agent's lock.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// The whole config of the demo; `ROOT` is filled in.
const CONFIG: &str =
    "# The demo's config: `treewarden report --config THIS` shows what the next run would do.
volume: {root: ROOT}
eviction: {budget: 36MiB, min_age: 1d}
defaults: {lock_wait: 0s}
repos:
  - {name: acme/shop, path: acme__shop}
  - {name: acme/api, path: acme__api}
  - {name: acme/mobile, path: acme__mobile}
  - {name: acme/infra, path: acme__infra}
caches:
  - {kind: npm, path: caches/npm}
  - {kind: cargo, path: caches/cargo}
  - {kind: folder, name: models, path: caches/models, reserve: 8MiB}
  - {kind: build-output}
";

/// Builds the sample volume in `at` (a new temporary directory by default), and runs treewarden on
/// it.
///
/// # Errors
/// [`DemoError`].
pub fn run(at: Option<&Path>, bar: &ProgressBar) -> Result<Demo, DemoError> {
    let directory = match at {
        Some(at) => std::path::absolute(at)?,
        None => tempfile::Builder::new()
            .prefix("treewarden-demo-")
            .tempdir()?
            .keep(),
    };
    let root = directory.join("volume");
    if at.is_some() {
        create(&directory)?;
    }
    fs::create_dir(&root)?;
    let text = CONFIG.replace("ROOT", &root.display().to_string());
    let file = directory.join("treewarden.yaml");
    fs::write(&file, &text)?;
    let policy = config::parse(&file.display().to_string(), &text)?;
    let now = clock::now();
    prepare(&policy.volume, now)?;
    let sample = Sample { root, now };
    // The sample's files are made to look old, so their change times don't count.
    clock::is_a_sample();
    sample.fill()?;
    let mobile = &policy.repos[2];
    let _agent = LockedRepo::take(
        &policy.volume.locks(),
        &mobile.name,
        &mobile.place,
        "exec cargo test",
        now,
    )?;
    let stop = Stop::after(Duration::from_mins(10), Arc::default());
    let options = Options {
        dry_run: false,
        repos: Vec::new(),
        only: Only::ALL,
        as_of: None,
        usage: false,
        shard: None,
        after_pause: false,
    };
    Ok(Demo {
        directory,
        report: run::run(&policy, &options, &stop, bar),
    })
}

/// Creates the directory and those above it; it must not be there yet.
fn create(directory: &Path) -> Result<(), DemoError> {
    fs::create_dir_all(directory.parent().unwrap_or(directory))?;
    fs::create_dir(directory).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => DemoError::Exists(directory.to_owned()),
        _ => error.into(),
    })
}

impl Demo {
    /// Describes where to look and what to try.
    pub fn look_around(&self) -> String {
        let config = self.directory.join("treewarden.yaml");
        let config = config.display();
        format!(
            "\nThe volume is yours to look at: {}\n  treewarden report  --config {config}    what the next run would do\n  \
             treewarden history --config {config}    the runs so far\n  treewarden rescue list --config {config}    what was rescued\n",
            self.directory.display()
        )
    }
}

/// Returns the integrity of npm's package with that number: one digit of base64, repeated.
fn integrity(number: usize) -> String {
    let digit = char::from(b'B' + u8::try_from(number).unwrap_or(0));
    format!("sha512-{}", String::from(digit).repeat(84))
}

struct Sample {
    root: PathBuf,
    now: DateTime<Utc>,
}

/// A repo of the sample.
struct SampleRepo<'a> {
    sample: &'a Sample,
    repo: Repository,
    name: &'static str,
}

impl Sample {
    fn fill(&self) -> Result<(), DemoError> {
        self.shop()?;
        self.api()?;
        self.mobile()?;
        self.infra()?;
        self.caches()
    }

    /// Builds a repo with worktrees in every state.
    fn shop(&self) -> Result<(), DemoError> {
        let shop = self.repo("acme__shop")?;
        let lock = format!(
            r#"{{"packages": {{"node_modules/react": {{"integrity": "{}"}}}}}}"#,
            integrity(1)
        );
        let files = [
            ("README.md", "# Shop\n"),
            ("cart.ts", "export const cart = [];\n"),
            ("package-lock.json", &lock),
        ];
        let first = shop.commit("main", &files, 60)?;
        let main = self.landed(&shop, first)?;
        self.not_landed(&shop, main)?;
        self.kept(&shop, main)
    }

    /// Adds worktrees with all their work in main: of a branch that was squashed into it, and of
    /// one without commits. Returns main's tip afterwards.
    fn landed(&self, shop: &SampleRepo<'_>, first: Oid) -> Result<Oid, DemoError> {
        shop.branch("coupons", first)?;
        let squashed = shop.commit(
            "coupons",
            &[("coupon.ts", "export const coupon = 5;\n")],
            12,
        )?;
        let main = shop.commit("main", &[("coupon.ts", "export const coupon = 5;\n")], 11)?;
        let main = shop.commit_on(main, "main", &[("tax.ts", "export const tax = 19;\n")], 4)?;
        shop.upstream(main)?;
        shop.tree("issue-101-coupons", "coupons", squashed, 11)?;
        self.modules("issue-101-coupons", 11)?;
        shop.tree("issue-104-docs", "docs", first, 8)?;
        Ok(main)
    }

    /// Adds worktrees with commits that no other branch has.
    fn not_landed(&self, shop: &SampleRepo<'_>, main: Oid) -> Result<(), DemoError> {
        shop.branch("search", main)?;
        let search = shop.commit("search", &[("search.ts", "export const find = 1;\n")], 9)?;
        shop.tree("issue-107-search", "search", search, 9)?;
        shop.branch("stock", main)?;
        let stock = shop.commit("stock", &[("stock.ts", "export const stock = 0;\n")], 3)?;
        shop.tree("issue-112-stock", "stock", stock, 3)?;
        self.modules("issue-112-stock", 3)
    }

    /// Adds worktrees with unsaved work, locked, in the middle of an operation, or gone.
    fn kept(&self, shop: &SampleRepo<'_>, main: Oid) -> Result<(), DemoError> {
        let unsaved = shop.tree("issue-088-payments", "payments", main, 41)?;
        for (name, text) in [
            ("cart.ts", "export const cart = ['half', 'done'];\n"),
            (".env", "STRIPE_KEY=only-here\n"),
        ] {
            fs::write(unsaved.join(name), text)?;
            self.age(&unsaved.join(name), 41)?;
        }
        let fresh = shop.tree("issue-115-refunds", "refunds", main, 0)?;
        fs::write(fresh.join("refund.ts"), "export const refund = 1;\n")?;
        let held = shop.tree("issue-090-demo-stand", "stand", main, 50)?;
        shop.admin(&held, "locked", "shown at the fair until Friday", 50)?;
        let rebasing = shop.tree("issue-095-split", "split", main, 33)?;
        shop.admin(&rebasing, "REVERT_HEAD", &main.to_string(), 33)?;
        let gone = shop.tree("issue-070-gone", "gone", main, 20)?;
        shop.admin(&gone, "treewarden-missing", "", 4)?;
        fs::rename(gone, self.root.join("moved-away"))?;
        Ok(())
    }

    /// Builds a repo that agents committed to for weeks: too many loose objects, and a lock that a
    /// killed git left.
    fn api(&self) -> Result<(), DemoError> {
        let api = self.repo("acme__api")?;
        let lock = "[[package]]\nname = \"serde\"\nversion = \"1.0.100\"\n\
                    source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        let files: Vec<(String, String)> = (0..1300)
            .map(|n| {
                (
                    format!("handler_{n}.rs"),
                    format!("pub fn handler_{n}() {{}}\n"),
                )
            })
            .collect();
        let files = files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()));
        let files: Vec<(&str, &str)> = files.chain([("Cargo.lock", lock)]).collect();
        let main = api.commit("main", &files, 10)?;
        api.upstream(main)?;
        let stale = self.root.join("acme__api/.git/packed-refs.lock");
        fs::write(&stale, "")?;
        self.age(&stale, 1)
    }

    /// Builds a repo that an agent is working in.
    fn mobile(&self) -> Result<(), DemoError> {
        let mobile = self.repo("acme__mobile")?;
        mobile
            .commit("main", &[("app.kt", "fun main() {}\n")], 1)
            .map(drop)
    }

    /// Builds a git-crypt repo, which a run refuses.
    fn infra(&self) -> Result<(), DemoError> {
        let infra = self.repo("acme__infra")?;
        infra
            .repo
            .config()?
            .set_str("filter.git-crypt.smudge", "git-crypt smudge")?;
        infra
            .commit("main", &[("secrets.yaml", "encrypted\n")], 5)
            .map(drop)
    }

    fn caches(&self) -> Result<(), DemoError> {
        let packages = [
            ("lodash-4.17.21", 2),
            ("react-18.2.0", 50),
            ("vite-5.0.0", 21),
            ("typescript-4.9.5", 64),
            ("left-pad-1.3.0", 190),
        ];
        for (number, (package, days)) in packages.into_iter().enumerate() {
            self.npm_package(number, package, days)?;
        }
        let crates = [
            ("serde-1.0.100", 90),
            ("serde-1.0.229", 1),
            ("tokio-1.20.0", 70),
            ("tokio-1.52.0", 2),
            ("regex-1.5.0", 45),
            ("syn-1.0.9", 30),
        ];
        for (name, days) in crates {
            self.file(
                &format!(
                    "caches/cargo/registry/cache/index.crates.io-1949cf8c6b5b557f/{name}.crate"
                ),
                1 << 20,
                days,
            )?;
        }
        for (name, days) in [
            ("all-minilm-l6", 3),
            ("whisper-small", 33),
            ("yolo-v5n", 80),
        ] {
            self.file(&format!("caches/models/{name}"), 5 << 20, days)?;
        }
        Ok(())
    }

    /// Adds a package to npm's cache: its content, and the index that names it by its digest.
    fn npm_package(&self, number: usize, package: &str, days: u32) -> Result<(), DemoError> {
        let hex = format!("{:06x}", (number + 1) * 0o1_010_101).repeat(21);
        let name = package.rsplit_once('-').map_or(package, |(name, _)| name);
        let key = format!(
            "make-fetch-happen:request-cache:https://registry.npmjs.org/{name}/-/{package}.tgz"
        );
        let line = format!(
            "\nhash\t{{\"key\":\"{key}\",\"integrity\":\"{}\",\"time\":1}}",
            integrity(number)
        );
        let bucket = format!(
            "caches/npm/_cacache/index-v5/{}/{}/{}",
            &hex[..2],
            &hex[2..4],
            &hex[4..60]
        );
        self.file(
            &format!(
                "caches/npm/_cacache/content-v2/sha512/{}/{}/{}",
                &hex[..2],
                &hex[2..4],
                &hex[4..]
            ),
            1 << 20,
            days,
        )?;
        self.file(&bucket, 0, days)?;
        fs::write(self.root.join(&bucket), line)?;
        self.age(&self.root.join(&bucket), days)
    }

    /// Adds the result of `npm install` to a worktree: npm's list of the packages, and the
    /// packages.
    fn modules(&self, tree: &str, days: u32) -> Result<(), DemoError> {
        let modules = format!("worktrees/acme__shop/{tree}/node_modules");
        let packages = ["react", "typescript", "vite"];
        for package in packages {
            self.file(&format!("{modules}/{package}/package.json"), 1000, days)?;
            self.file(&format!("{modules}/{package}/index.js"), 2 << 20, days)?;
        }
        let installed = packages
            .map(|package| format!(r#""node_modules/{package}": {{"version": "1.0.0"}}"#))
            .join(", ");
        let account = self.root.join(modules).join(".package-lock.json");
        fs::write(
            &account,
            format!(r#"{{"lockfileVersion": 3, "packages": {{{installed}}}}}"#),
        )?;
        self.age(&account, days)
    }

    fn file(&self, path: &str, bytes: usize, days: u32) -> Result<(), DemoError> {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        fs::write(&path, vec![b'x'; bytes])?;
        self.age(&path, days)
    }

    /// Makes a file look as if it was last used so many days ago.
    fn age(&self, path: &Path, days: u32) -> Result<(), DemoError> {
        let then = SystemTime::from(self.ago(days));
        fs::File::open(path)?
            .set_times(fs::FileTimes::new().set_accessed(then).set_modified(then))?;
        Ok(())
    }

    fn ago(&self, days: u32) -> DateTime<Utc> {
        self.now - TimeDelta::days(days.into()) - TimeDelta::minutes(5)
    }

    fn repo(&self, name: &'static str) -> Result<SampleRepo<'_>, DemoError> {
        let repo = Repository::init_opts(
            self.root.join(name),
            RepositoryInitOptions::new()
                .initial_head("main")
                .external_template(false),
        )?;
        Ok(SampleRepo {
            sample: self,
            repo,
            name,
        })
    }
}

impl SampleRepo<'_> {
    fn commit(&self, branch: &str, files: &[(&str, &str)], days: u32) -> Result<Oid, DemoError> {
        let parent = self
            .repo
            .find_reference(&format!("refs/heads/{branch}"))
            .and_then(|branch| branch.peel_to_commit())
            .ok();
        self.write(parent.as_ref(), branch, files, days)
    }

    fn commit_on(
        &self,
        parent: Oid,
        branch: &str,
        files: &[(&str, &str)],
        days: u32,
    ) -> Result<Oid, DemoError> {
        self.write(Some(&self.repo.find_commit(parent)?), branch, files, days)
    }

    fn write(
        &self,
        parent: Option<&Commit<'_>>,
        branch: &str,
        files: &[(&str, &str)],
        days: u32,
    ) -> Result<Oid, DemoError> {
        let mut tree = self
            .repo
            .treebuilder(parent.map(Commit::tree).transpose()?.as_ref())?;
        for (name, text) in files {
            tree.insert(name, self.repo.blob(text.as_bytes())?, 0o100_644)?;
        }
        let tree = self.repo.find_tree(tree.write()?)?;
        let agent = Signature::new(
            "An Agent",
            "agent@example.com",
            &Time::new(self.sample.ago(days).timestamp(), 0),
        )?;
        let name = format!("refs/heads/{branch}");
        Ok(self.repo.commit(
            Some(&name),
            &agent,
            &agent,
            "Work on the issue\n",
            &tree,
            parent.as_slice(),
        )?)
    }

    fn branch(&self, name: &str, at: Oid) -> Result<(), DemoError> {
        self.repo.branch(name, &self.repo.find_commit(at)?, true)?;
        Ok(())
    }

    /// Sets `origin/main`, as the last fetch did.
    fn upstream(&self, main: Oid) -> Result<(), DemoError> {
        self.repo
            .reference("refs/remotes/origin/main", main, true, "fetch")?;
        Ok(())
    }

    /// Adds a worktree that nobody has touched for so many days.
    fn tree(&self, name: &str, branch: &str, at: Oid, days: u32) -> Result<PathBuf, DemoError> {
        if self
            .repo
            .find_branch(branch, git2::BranchType::Local)
            .is_err()
        {
            self.branch(branch, at)?;
        }
        let path = self
            .sample
            .root
            .join("worktrees")
            .join(self.name)
            .join(name);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        let reference = self.repo.find_reference(&format!("refs/heads/{branch}"))?;
        self.repo.worktree(
            name,
            &path,
            Some(WorktreeAddOptions::new().reference(Some(&reference))),
        )?;
        for file in ["HEAD", "index", "logs/HEAD", "ORIG_HEAD"] {
            let file = self.repo.path().join("worktrees").join(name).join(file);
            if file.exists() {
                self.sample.age(&file, days)?;
            }
        }
        Ok(path)
    }

    /// Writes a file in a worktree's admin directory.
    fn admin(&self, tree: &Path, file: &str, text: &str, days: u32) -> Result<(), DemoError> {
        let path = self
            .repo
            .path()
            .join("worktrees")
            .join(tree.file_name().unwrap_or_default())
            .join(file);
        fs::write(&path, text)?;
        self.sample.age(&path, days)
    }
}
