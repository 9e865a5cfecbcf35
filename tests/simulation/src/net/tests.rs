//! Streams over links that are cut, slow, and lossy.

use std::time::Duration;

use stdx::serve::Accept as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::*;

/// Moves the network's time along with the runtime's.
fn drive(net: &Net) {
    let net = net.clone();
    tokio::spawn(async move {
        for now in 1.. {
            tokio::time::sleep(Duration::from_millis(1)).await;
            net.advance(now);
        }
    });
}

async fn pair(net: &Net) -> (Box<dyn Io>, Stream) {
    let listener = net.listen(1);
    let connecting = net.of(0).connect("m1", port(1));
    let (near, far) = tokio::join!(connecting, listener.next());
    (near.unwrap(), far.unwrap().0)
}

const SOON: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn bytes_arrive_in_order_and_later() {
    let net = Net::new(1);
    drive(&net);
    let (mut near, mut far) = pair(&net).await;
    net.set_quality(Quality { delay: (1, 40), loss: 100 });
    let began = tokio::time::Instant::now();
    for byte in 0..50 {
        near.write_all(&[byte]).await.unwrap();
    }
    let mut read = [0; 50];
    far.read_exact(&mut read).await.unwrap();
    assert!(read.is_sorted());
    assert!(began.elapsed() > Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn a_cut_link_holds_one_direction_back_until_it_is_mended() {
    let net = Net::new(2);
    drive(&net);
    let (mut near, mut far) = pair(&net).await;
    net.cut(0, 1);
    near.write_all(b"x").await.unwrap();
    far.write_all(b"y").await.unwrap();
    assert_eq!(near.read_u8().await.unwrap(), b'y');
    assert!(timeout(SOON, far.read_u8()).await.is_err());
    net.mend(0, 1);
    assert_eq!(far.read_u8().await.unwrap(), b'x');
}

#[tokio::test(start_paused = true)]
async fn a_dead_process_resets_and_a_dead_host_is_silent() {
    let net = Net::new(3);
    drive(&net);
    let (mut near, far) = pair(&net).await;
    net.kill(1);
    drop(far);
    assert!(near.read_u8().await.is_err());
    let refused = net.of(0).connect("m1", port(1)).await.map(drop).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let (mut near, far) = pair(&net).await;
    net.power_off(1);
    drop(far);
    assert!(timeout(SOON, near.read_u8()).await.is_err());
    assert!(timeout(SOON, net.of(0).connect("m1", port(1))).await.is_err());
    net.power_on(1);
    assert!(near.read_u8().await.is_err(), "the host does not know the connection");
}
