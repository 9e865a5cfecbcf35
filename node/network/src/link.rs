//! One netlink connection into the kernel's interfaces, addresses, neighbours and routes.

use crate::Error;
use futures::TryStreamExt;
use netlink_packet_route::{
    AddressFamily,
    link::{LinkAttribute, LinkMessage},
    route::{RouteMessage, RouteProtocol},
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};
use tokio::task::JoinHandle;

/// Marks the routes that are ours (`ip route show proto 84`).
pub(crate) const PROTOCOL: RouteProtocol = RouteProtocol::Other(84);

/// A connection into the namespace of the thread that opened it.
pub(crate) struct Kernel {
    /// Where requests go.
    pub(crate) handle: Handle,
    task: JoinHandle<()>,
}

impl Kernel {
    /// Opens a connection.
    pub(crate) fn open() -> Result<Self, Error> {
        let opened = rtnetlink::new_connection().map_err(Error::io("open", "rtnetlink"))?;
        let (connection, handle, _) = opened;
        Ok(Self { handle, task: tokio::spawn(connection) })
    }

    /// The link of a name; `None` when there is none.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<LinkMessage>, Error> {
        let mut found = self.handle.link().get().match_name(name.to_owned()).execute();
        match found.try_next().await {
            Ok(link) => Ok(link),
            Err(error) if is(&error, nix::libc::ENODEV) => Ok(None),
            Err(error) => Err(Error::kernel(format!("look for interface {name}"))(error)),
        }
    }

    /// The index of a link that must be there.
    pub(crate) async fn index(&self, name: &str) -> Result<u32, Error> {
        let link = self.find(name).await?;
        link.map(|link| link.header.index).ok_or_else(|| Error::NoLink(name.to_owned()))
    }

    /// All links: name and index.
    pub(crate) async fn links(&self) -> Result<Vec<(String, u32)>, Error> {
        let all = self.handle.link().get().execute().try_collect::<Vec<_>>().await;
        let all = all.map_err(Error::kernel("list interfaces"))?;
        let named = |link: &LinkMessage| {
            link.attributes.iter().find_map(|one| match one {
                LinkAttribute::IfName(name) => Some((name.clone(), link.header.index)),
                _ => None,
            })
        };
        Ok(all.iter().filter_map(named).collect())
    }

    /// Brings a link up.
    pub(crate) async fn up(&self, index: u32) -> Result<(), Error> {
        let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build();
        let set = self.handle.link().set(message).execute().await;
        set.map_err(Error::kernel("bring interface up"))
    }

    /// Removes a link (and with a veth, its other end). None there is fine.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), Error> {
        let Some(link) = self.find(name).await? else { return Ok(()) };
        match self.handle.link().del(link.header.index).execute().await {
            Err(error) if !is(&error, nix::libc::ENODEV) => {
                Err(Error::kernel(format!("remove interface {name}"))(error))
            }
            _ => Ok(()),
        }
    }

    /// Says for good where a neighbour is.
    pub(crate) async fn neighbour(
        &self,
        index: u32,
        ip: Ipv4Addr,
        mac: [u8; 6],
    ) -> Result<(), Error> {
        let request = self.handle.neighbours().add(index, IpAddr::V4(ip)).link_local_address(&mac);
        let added = request.replace().execute().await;
        added.map_err(Error::kernel(format!("set neighbour {ip}")))
    }

    /// Adds or replaces a route.
    pub(crate) async fn route(&self, what: &str, route: RouteMessage) -> Result<(), Error> {
        let added = self.handle.route().add(route).replace().execute().await;
        added.map_err(Error::kernel(format!("set route {what}")))
    }

    /// Deletes a route. None there is fine.
    pub(crate) async fn unroute(&self, what: &str, route: RouteMessage) -> Result<(), Error> {
        match self.handle.route().del(route).execute().await {
            Err(error) if !is(&error, nix::libc::ESRCH) => {
                Err(Error::kernel(format!("delete route {what}"))(error))
            }
            _ => Ok(()),
        }
    }

    /// Our IPv4 routes of the main table.
    pub(crate) async fn our_routes(&self) -> Result<Vec<RouteMessage>, Error> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let all = self.handle.route().get(all).execute().try_collect::<Vec<_>>().await;
        let mut all = all.map_err(Error::kernel("list routes"))?;
        all.retain(|route| {
            route.header.address_family == AddressFamily::Inet && route.header.protocol == PROTOCOL
        });
        Ok(all)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether the kernel answered with this error number.
pub(crate) fn is(error: &rtnetlink::Error, errno: i32) -> bool {
    match error {
        rtnetlink::Error::NetlinkError(message) => {
            message.code.is_some_and(|code| code.get().abs() == errno)
        }
        _ => false,
    }
}

/// Runs netlink work on a runtime of its own, for threads outside of any executor.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::io("start", "runtime"))?;
    runtime.block_on(work)
}

/// Writes a kernel setting of the calling thread's network namespace.
pub(crate) fn set(name: &str, value: &str) -> Result<(), Error> {
    let path = format!("/proc/sys/net/{name}");
    std::fs::write(&path, value).map_err(Error::io("set", &path))
}

/// Like [`set`], where a kernel without the setting is fine.
pub(crate) fn set_if_there(name: &str, value: &str) -> Result<(), Error> {
    match set(name, value) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
