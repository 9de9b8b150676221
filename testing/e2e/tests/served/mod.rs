//! A server of files.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

/// Serves the files of a directory on loopback, as long as the process lives; gives the URL.
pub fn serve(directory: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever hangs up early is no concern of the server.
            let _ = answer(&stream, &directory);
        }
    });
    url
}

fn answer(stream: &TcpStream, directory: &Path) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let path = first.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    let mut stream = stream;
    match fs::read(directory.join(path.trim_start_matches('/'))) {
        Ok(content) => {
            let date = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{date}\r\nConnection: close\r\n\r\n",
                content.len()
            )?;
            stream.write_all(&content)
        }
        Err(_) => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngone"),
    }
}
