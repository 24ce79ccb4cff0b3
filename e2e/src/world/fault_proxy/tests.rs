//! The proxy's promises, on sockets alone.

use super::*;

/// A server that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = socket.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
        }
    });
    address
}

async fn proxy(seed: u64) -> FaultProxy {
    FaultProxy::before(echo().await, Seed::new(seed)).await.unwrap()
}

async fn client(proxy: &FaultProxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// Sends `bytes` bytes and gives how many came back before the end, and how it ended.
async fn sent_back(proxy: &FaultProxy, bytes: usize) -> (u64, io::Result<()>) {
    let mut socket = client(proxy).await;
    let (mut from, mut to) = socket.split();
    let data = vec![7; bytes];
    let send = async {
        // The cut may come while we write.
        drop(to.write_all(&data).await);
        drop(to.shutdown().await);
    };
    let read = async {
        let (mut came, mut scratch) = (0, vec![0; 4096]);
        loop {
            match from.read(&mut scratch).await {
                Ok(0) => return (came, Ok(())),
                Ok(length) => came += length as u64,
                Err(e) => return (came, Err(e)),
            }
        }
    };
    tokio::join!(send, read).1
}

#[tokio::test]
async fn a_connection_is_cut_at_the_byte_that_its_seed_says_and_how_it_says() {
    let proxy = proxy(3).await;
    let range = 100..=50_000;
    proxy.set(Weather {
        cut_after: Some(range.clone()),
        ..Weather::CALM
    });
    let mut seen = std::collections::BTreeSet::new();
    for number in 1..=24 {
        let fate = Fate::of(Seed::new(3), number, &range);
        let (came, end) = sent_back(&proxy, 200_000).await;
        assert_eq!(proxy.cuts(), number);
        assert!(came < 200_000);
        seen.insert((fate.direction == Direction::ToClient, fate.ending == Ending::Rst));
        match fate {
            // A reset may take bytes that had arrived.
            Fate {
                ending: Ending::Rst, ..
            } => assert!(came <= fate.position || fate.direction == Direction::ToRelay),
            Fate {
                direction: Direction::ToClient,
                position,
                ..
            } => {
                assert_eq!(came, position);
                end.unwrap();
            }
            Fate {
                direction: Direction::ToRelay,
                position,
                ..
            } => {
                assert!(came <= position);
                end.unwrap();
            }
        }
    }
    assert_eq!(seen.len(), 4, "every way of cutting was seen");
}

#[tokio::test]
async fn after_its_last_cut_the_weather_is_calm() {
    let proxy = proxy(1).await;
    proxy.set(Weather {
        cut_after: Some(1..=1000),
        most_cuts: 2,
        ..Weather::CALM
    });
    for _ in 0..2 {
        assert!(sent_back(&proxy, 100_000).await.0 < 100_000);
    }
    assert_eq!(sent_back(&proxy, 100_000).await.0, 100_000);
    assert_eq!((proxy.cuts(), proxy.connections()), (2, 3));
}

#[tokio::test]
async fn a_silent_connection_stays_open_while_a_new_one_is_carried() {
    let proxy = proxy(1).await;
    let mut silent = client(&proxy).await;
    silent.write_all(b"a").await.unwrap();
    let mut byte = [0];
    silent.read_exact(&mut byte).await.unwrap();
    proxy.silence();
    silent.write_all(b"b").await.unwrap();
    assert_eq!(sent_back(&proxy, 100_000).await.0, 100_000);
    let nothing = silent.try_read(&mut byte).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    proxy.cut(Ending::Rst);
    assert_eq!(
        silent.read(&mut byte).await.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
}

#[tokio::test]
async fn what_is_sent_while_it_is_paused_arrives_after() {
    let proxy = proxy(1).await;
    let mut socket = client(&proxy).await;
    proxy.pause();
    socket.write_all(b"later").await.unwrap();
    let mut read = [0; 5];
    assert!(
        timeout(Duration::from_millis(100), socket.read_exact(&mut read))
            .await
            .is_err()
    );
    proxy.resume();
    socket.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"later");
}

#[tokio::test]
async fn a_narrow_or_long_line_takes_its_time() {
    let proxy = proxy(1).await;
    let start = Instant::now();
    proxy.set(Weather {
        rate: Some(100_000),
        ..Weather::CALM
    });
    assert_eq!(sent_back(&proxy, 20_000).await.0, 20_000);
    assert!(start.elapsed() >= Duration::from_millis(190), "the line was not narrow");
    let start = Instant::now();
    proxy.set(Weather {
        delay: Duration::from_millis(100),
        ..Weather::CALM
    });
    assert_eq!(sent_back(&proxy, 20_000).await.0, 20_000);
    assert!(
        start.elapsed() >= Duration::from_millis(200),
        "there and back was not long"
    );
}
