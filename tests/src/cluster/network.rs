//! Network namespaces of the test's own, wired to one another and to nothing else.
//!
//! A namespace is held by an open file of the test process, so that it ends with the process,
//! together with every interface in it. Making one needs root.

use std::{
    ffi::OsStr,
    fs::File,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsRawFd,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime,
    sync::oneshot,
};

use crate::skip::skip;

/// The bridge of a network in its first namespace, and the first two bytes of all addresses.
const BRIDGE: &str = "bridge0";

/// The address of the namespace in which the API server runs.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);

/// A network of its own: one namespace with a bridge, in which the API server runs, and an
/// [`Endpoint`] for each webhook replica or node that is attached to it. Clones are the same network.
#[derive(Clone, Debug)]
pub struct Network {
    namespace: Namespace,
    attached: Arc<AtomicU8>,
}

impl Network {
    /// Makes a network.
    ///
    /// # Errors
    /// Without root, or where the kernel has no network namespaces, bridges or veth pairs.
    pub fn create() -> Result<Self> {
        let namespace = Namespace::create()?;
        namespace.ip(&format!(
            "link set lo up
             link add {BRIDGE} type bridge
             address add {GATEWAY}/16 dev {BRIDGE}
             link set {BRIDGE} up"
        ))?;
        namespace.forward_packets()?;
        let attached = Arc::new(AtomicU8::new(0));
        Ok(Self {
            namespace,
            attached,
        })
    }

    /// Whether networks can be made here. Where not, the test that asks is skipped, which is said, and in
    /// CI is a failure.
    ///
    /// # Panics
    /// In CI, where networks cannot be made.
    pub fn available() -> bool {
        match Namespace::create() {
            Ok(_) => true,
            Err(error) => {
                skip(&format!("{error:#}"));
                false
            }
        }
    }

    /// The address of the API server, as everybody in the network sees it.
    pub fn gateway(&self) -> Ipv4Addr {
        GATEWAY
    }

    /// The namespace in which the API server runs.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Attaches a new namespace with an address of its own.
    ///
    /// # Errors
    /// When the kernel refuses, or more than 250 are attached.
    pub fn attach(&self) -> Result<Endpoint> {
        let number = self.attached.fetch_add(1, Ordering::Relaxed) + 2;
        ensure!(number < 253, "a network holds 250 endpoints");
        let address = Ipv4Addr::new(10, 200, 0, number);
        let namespace = Namespace::create()?;
        let link = format!("veth{number}");
        self.namespace.ip(&format!(
            "link add {link} type veth peer name eth0 netns {path}
             link set {link} master {BRIDGE} up",
            path = namespace.path(),
        ))?;
        namespace.ip(&format!(
            "link set lo up
             address add {address}/16 dev eth0
             link set eth0 up
             route add default via {GATEWAY}"
        ))?;
        Ok(Endpoint {
            namespace,
            address,
            link,
            network: self.clone(),
        })
    }

    /// Forwards connections from a listener outside of the network to an address inside of it, until
    /// what is returned is dropped.
    ///
    /// # Errors
    /// When no thread can be started in the network's namespace.
    pub fn forward(&self, listener: std::net::TcpListener, to: SocketAddr) -> Result<Forward> {
        listener
            .set_nonblocking(true)
            .context("prepare the listener")?;
        let (stop, stopped) = oneshot::channel::<()>();
        let namespace = self.namespace.clone();
        let name = format!("forward to {to}");
        let thread = thread::Builder::new().name(name).spawn(move || {
            namespace.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                tokio::select! {
                    result = forward(listener, to) => result,
                    _ = stopped => Ok(()),
                }
            })?
        });
        Ok(Forward {
            stop: Some(stop),
            thread: Some(thread.context("start a thread")?),
        })
    }
}

/// One network namespace, reached from the rest of its [`Network`] at an address of its own: a place
/// for a webhook replica, or for a node.
#[derive(Debug)]
pub struct Endpoint {
    namespace: Namespace,
    address: Ipv4Addr,
    link: String,
    network: Network,
}

impl Endpoint {
    /// Its address.
    pub fn address(&self) -> IpAddr {
        IpAddr::V4(self.address)
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Lets the network reach a subnet behind this endpoint, such as that of a node's pods.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn route(&self, subnet: &str) -> Result<()> {
        let Self {
            address, network, ..
        } = self;
        network
            .namespace
            .ip(&format!("route add {subnet} via {address}"))
    }

    /// Pulls the cable: packets are lost in both directions and nobody is told.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unplug(&self) -> Result<()> {
        self.network
            .namespace
            .ip(&format!("link set {} down", self.link))
    }

    /// Ends [`Endpoint::unplug`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn plug(&self) -> Result<()> {
        self.network
            .namespace
            .ip(&format!("link set {} up", self.link))
    }
}

/// A network namespace. It ends when the last clone is dropped and the last process in it is gone.
#[derive(Clone, Debug)]
pub struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    fn create() -> Result<Self> {
        // A thread changes its namespace alone, and takes the new one with it where nobody holds it.
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace (needs root)")?;
            File::open("/proc/thread-self/ns/net").context("open the network namespace")
        });
        let file = made
            .join()
            .map_err(|_| anyhow!("the thread that makes namespaces panicked"))??;
        Ok(Self {
            file: Arc::new(file),
        })
    }

    /// A path that other processes can open for as long as this value lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// A command that runs in the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs a future on a thread that lives in the namespace: its sockets are the namespace's. Load
    /// comes from there.
    ///
    /// # Errors
    /// When no thread can be started in the namespace, or the future panics.
    pub async fn run<F, T>(&self, work: impl FnOnce() -> F + Send + 'static) -> Result<T>
    where
        F: Future<Output = T>,
        T: Send + 'static,
    {
        let namespace = self.clone();
        let (done, result) = oneshot::channel();
        thread::Builder::new()
            .name("in a namespace".to_owned())
            .spawn(move || {
                // The receiver is gone where nobody waits for the result any more.
                let _ = done.send(namespace.block_on(async { work().await }));
            })
            .context("start a thread")?;
        result
            .await
            .context("the thread in the namespace panicked")?
    }

    /// Moves the calling thread into the namespace and runs a future there.
    fn block_on<F: Future>(&self, work: F) -> Result<F::Output> {
        setns(&*self.file, CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        Ok(runtime.context("start a runtime")?.block_on(work))
    }

    /// Makes a router of it. The setting belongs to the namespace of the process that opens it.
    fn forward_packets(&self) -> Result<()> {
        let mut shell = self.command("sh");
        let status = shell
            .args(["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])
            .status();
        ensure!(
            status.context("run nsenter")?.success(),
            "cannot turn IP forwarding on"
        );
        Ok(())
    }

    /// Runs commands of ip(8), one a line.
    pub(super) fn ip(&self, commands: &str) -> Result<()> {
        let mut ip = self.command("ip");
        let mut ip = ip
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("run nsenter and ip (Debian: util-linux, iproute2)")?;
        if let Some(mut stdin) = ip.stdin.take() {
            stdin
                .write_all(commands.as_bytes())
                .context("write to ip")?;
        }
        let output = ip.wait_with_output().context("wait for ip")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip: {said}\n{commands}");
        Ok(())
    }
}

/// A forwarder from outside of a network; see [`Network::forward`].
#[derive(Debug)]
pub struct Forward {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<Result<()>>>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        drop(self.stop.take());
        match self.thread.take().map(thread::JoinHandle::join) {
            Some(Ok(Err(error))) => eprintln!("forwarder: {error:#}"),
            Some(Err(_)) => eprintln!("forwarder: panicked"),
            Some(Ok(Ok(()))) | None => {}
        }
    }
}

async fn forward(listener: TcpListener, to: SocketAddr) -> Result<()> {
    loop {
        let (mut outside, _) = listener.accept().await.context("accept a connection")?;
        tokio::spawn(async move {
            // A failed dial closes the connection, which tells the client what there is to tell.
            let mut inside = TcpStream::connect(to).await?;
            outside.set_nodelay(true)?;
            inside.set_nodelay(true)?;
            copy_bidirectional(&mut outside, &mut inside).await
        });
    }
}
