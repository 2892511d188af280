//! Container images for the nodes: the real Envoy, the tests' own tools, and what we ship.

use std::{
    collections::hash_map::DefaultHasher,
    env, fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{
    envoy::{Binary, Wanted},
    product::workspace,
};

/// A container image in an archive (OCI), which [`super::Cluster::import`] puts on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    reference: String,
    archive: PathBuf,
}

impl Image {
    /// A shell, `/bin/sh` and `/bin/busybox`. Every node has it; it also holds each pod's namespaces.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn busybox() -> Result<Self> {
        let busybox = find_program("busybox")?;
        Recipe::new("busybox", "1")
            .file(&busybox, "/bin/busybox")
            .file(&busybox, "/bin/sh")
            .build()
    }

    /// The real Envoy, `/usr/local/bin/envoy`, as its entry point.
    ///
    /// # Errors
    /// When it cannot be found, fetched or built.
    pub fn envoy(wanted: Wanted<'_>) -> Result<Self> {
        let tag = match wanted {
            Wanted::Usual => "usual",
            Wanted::Release(release) => release,
        };
        let binary = Binary::find(wanted)?;
        Recipe::new("envoy", tag)
            .program(binary.path(), "/usr/local/bin/envoy")?
            .build()
    }

    /// The application behind Envoy, and clients in front of it: `traffic`, as its entry point.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn tools() -> Result<Self> {
        Recipe::new("tools", "1")
            .program(&traffic()?, "/usr/local/bin/traffic")?
            .build()
    }

    /// The shutdown manager of another project, a static program, as its entry point.
    ///
    /// # Errors
    /// When the image cannot be built.
    pub fn manager(project: &str, program: &Path) -> Result<Self> {
        Recipe::new("manager", project)
            .program(program, "/usr/local/bin/manager")?
            .build()
    }

    /// The sidecar as it is shipped, for this machine's architecture, as `make images` builds it. With
    /// `DRAINHOOK_IMAGES` set to a directory, `shutdown-manager.tar` is taken from there.
    ///
    /// # Errors
    /// When it cannot be built, with cargo's words on standard error.
    pub fn sidecar() -> Result<Self> {
        shipped("shutdown-manager")
    }

    /// The webhook as it is shipped; as [`Image::sidecar`], `drainhook.tar`.
    ///
    /// # Errors
    /// As [`Image::sidecar`].
    pub fn webhook() -> Result<Self> {
        shipped("drainhook")
    }

    /// An image from an archive that is there.
    pub fn at(reference: &str, archive: &Path) -> Self {
        Self {
            reference: reference.to_owned(),
            archive: archive.to_owned(),
        }
    }

    /// What pods call it.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// Where it is.
    pub fn archive(&self) -> &Path {
        &self.archive
    }
}

/// The images of a gateway's pods.
#[derive(Clone, Debug)]
pub struct Images {
    /// The real Envoy.
    pub envoy: Image,
    /// The application and its clients, `traffic`.
    pub tools: Image,
    /// The sidecar, as it is shipped.
    pub sidecar: Image,
}

impl Images {
    /// Builds them, as far as the cache does not have them.
    ///
    /// # Errors
    /// When one cannot be built.
    pub fn build() -> Result<Self> {
        Ok(Self {
            envoy: Image::envoy(Wanted::Usual)?,
            tools: Image::tools()?,
            sidecar: Image::sidecar()?,
        })
    }

    /// Each of them.
    pub fn all(&self) -> [&Image; 3] {
        [&self.envoy, &self.tools, &self.sidecar]
    }
}

/// The program `traffic`, which cargo puts beside the other binaries of this crate, and above tests.
fn traffic() -> Result<PathBuf> {
    let this = env::current_exe().context("ask for the path of this program")?;
    let mut places = this.ancestors().skip(1).take(2);
    places
        .find_map(|place| Some(place.join("traffic")).filter(|path| path.is_file()))
        .with_context(|| {
            let this = this.display();
            format!("no `traffic` beside {this}; `cargo build --package drainhook-tests --bins`")
        })
}

fn shipped(name: &str) -> Result<Image> {
    let directory = match env::var_os("DRAINHOOK_IMAGES") {
        Some(directory) => PathBuf::from(directory),
        None => {
            build_shipped(name)?;
            workspace().join("target/images")
        }
    };
    Ok(Image {
        reference: format!("ghcr.io/drainhook/{name}:v{}", env!("CARGO_PKG_VERSION")),
        archive: directory.join(format!("{name}.tar")),
    })
}

/// The program in an image that is shipped, for this machine.
///
/// # Errors
/// When the image cannot be built.
pub fn shipped_program(name: &str) -> Result<PathBuf> {
    build_shipped(name)?;
    let architecture = architecture()?;
    Ok(workspace().join(format!("target/images/{name}/{architecture}/{name}")))
}

fn build_shipped(name: &str) -> Result<()> {
    let script = workspace().join("images/build.sh");
    let mut build = Command::new(&script);
    let status = build
        .args([name, architecture()?])
        .stdout(Stdio::null())
        .status();
    let status = status.with_context(|| format!("run {}", script.display()))?;
    ensure!(status.success(), "{} ended with {status}", script.display());
    Ok(())
}

/// An image from scratch: files at their places.
struct Recipe {
    name: &'static str,
    tag: String,
    files: Vec<(PathBuf, String)>,
}

impl Recipe {
    fn new(name: &'static str, tag: &str) -> Self {
        Self {
            name,
            tag: tag.to_owned(),
            files: Vec::new(),
        }
    }

    /// A file of this machine at `place` in the image.
    fn file(mut self, source: &Path, place: &str) -> Self {
        self.files.push((source.to_owned(), place.to_owned()));
        self
    }

    /// A program, with the libraries that it is linked to at the places where it looks for them.
    fn program(mut self, program: &Path, place: &str) -> Result<Self> {
        let output = Command::new("ldd")
            .arg(program)
            .output()
            .context("run ldd")?;
        let text = String::from_utf8_lossy(&output.stdout);
        // A static program has none, and ldd says so by its status.
        for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
            self = self.file(Path::new(library), library);
        }
        Ok(self.file(program, place))
    }

    /// Builds it, unless the cache has it: one with a large program takes seconds.
    fn build(self) -> Result<Image> {
        let reference = format!("drainhook.test/{}:{}", self.name, self.tag);
        let containerfile = workspace().join("tests/cluster/images").join(self.name);
        let containerfile = containerfile.join("Containerfile");
        let archive = cache()?.join(format!(
            "{}-{}-{}.tar",
            self.name,
            self.tag,
            self.key(&containerfile)?
        ));
        if !archive.exists() {
            let context = TempDir::with_prefix("drainhook-image-").context("make a directory")?;
            for (source, place) in &self.files {
                let to = context
                    .path()
                    .join("rootfs")
                    .join(place.trim_start_matches('/'));
                let parent = to.parent().unwrap_or(context.path());
                fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
                fs::copy(source, &to).with_context(|| format!("copy {}", source.display()))?;
            }
            let script = workspace().join("images/image.sh");
            let mut build = Command::new(&script);
            build
                .arg(&reference)
                .arg(&archive)
                .arg(context.path())
                .arg(architecture()?);
            let output = build.arg("--file").arg(containerfile).output();
            let output = output.with_context(|| format!("run {}", script.display()))?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "build image {reference}: {said}");
        }
        Ok(Image { reference, archive })
    }

    /// Changes with whatever the image is made of.
    fn key(&self, containerfile: &Path) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        fs::read(containerfile)
            .context("read the Containerfile")?
            .hash(&mut hasher);
        for (source, place) in &self.files {
            let file =
                fs::metadata(source).with_context(|| format!("look at {}", source.display()))?;
            (source, place, file.len(), file.modified().ok()).hash(&mut hasher);
        }
        Ok(format!("{:016x}", hasher.finish()))
    }
}

fn cache() -> Result<PathBuf> {
    let cache = match (env::var_os("DRAINHOOK_CACHE"), env::var_os("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache/drainhook"),
        (None, None) => {
            bail!("neither DRAINHOOK_CACHE nor HOME is set: there is no place for images")
        }
    };
    let images = cache.join("images");
    fs::create_dir_all(&images).with_context(|| format!("make {}", images.display()))?;
    Ok(images)
}

/// What images call this machine's architecture.
fn architecture() -> Result<&'static str> {
    match env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no images for {other}"),
    }
}

fn find_program(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = env::split_paths(&path).map(|place| place.join(name));
    places
        .find(|place| place.is_file())
        .with_context(|| format!("there is no {name} in PATH"))
}
