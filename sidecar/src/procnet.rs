//! The kernel's table of connections, `/proc/net/tcp{,6}`, for an Envoy whose admin interface is off.
//!
//! The containers of a pod share one network namespace, so our own table is Envoy's too. It shows
//! connections and not requests, no UDP (so no HTTP/3), and not which process has them.

use std::{
    collections::HashSet,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, BufRead, BufReader},
};

use crate::listeners::{Class, Rules};

const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// States of a connection, as the kernel writes them (`include/net/tcp_states.h`).
const ESTABLISHED: &str = "01";
const TIME_WAIT: &str = "06";
const CLOSE_WAIT: &str = "08";
const LISTEN: &str = "0A";

/// What the table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sockets {
    /// Ports on which somebody listens, without our own.
    pub listening: u64,
    /// Open connections on them.
    pub open: u64,
    /// Connections seen so far: the figure means nothing but when it differs from an earlier one.
    pub arrived: u64,
}

/// Reads the table again and again, and remembers what it has seen.
#[derive(Debug)]
pub struct Table {
    own_port: u16,
    seen: HashSet<u64>,
    arrived: u64,
}

impl Table {
    /// A table in which our own port does not count.
    pub fn new(own_port: u16) -> Self {
        Self {
            own_port,
            seen: HashSet::new(),
            arrived: 0,
        }
    }

    /// Reads the kernel's table.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, as without `/proc`.
    pub fn read(&mut self, rules: &Rules) -> io::Result<Sockets> {
        let mut rows = Vec::new();
        for (number, table) in TABLES.iter().enumerate() {
            match File::open(table) {
                Ok(file) => read_rows(BufReader::new(file), &mut rows)?,
                // A kernel without IPv6 has one table.
                Err(error) if number > 0 && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.count(&rows, rules))
    }

    fn count(&mut self, rows: &[Row], rules: &Rules) -> Sockets {
        let listening: HashSet<u16> = rows
            .iter()
            .filter(|row| row.state == State::Listening && row.port != self.own_port)
            .map(|row| row.port)
            .filter(|port| rules.class_of_port(*port) != Class::Ignored)
            .collect();
        let ours = || rows.iter().filter(|row| listening.contains(&row.port));
        let open = ours().filter(|row| row.state == State::Open).count();
        // A connection that came and went between two looks stays here for a minute, where Envoy was
        // the one to close it.
        let seen: HashSet<u64> = ours()
            .filter(|row| row.state != State::Listening)
            .filter(|row| rules.class_of_port(row.port) == Class::Counted)
            .map(|row| row.identity)
            .collect();
        self.arrived += seen.difference(&self.seen).count() as u64;
        self.seen = seen;
        Sockets {
            listening: listening.len() as u64,
            open: open as u64,
            arrived: self.arrived,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    port: u16,
    state: State,
    identity: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Listening,
    Open,
    Over,
}

fn read_rows(table: impl BufRead, rows: &mut Vec<Row>) -> io::Result<()> {
    for line in table.lines().skip(1) {
        rows.extend(read_row(&line?));
    }
    Ok(())
}

/// `  0: 0100007F:1F9A 0100007F:D2C4 01 ...`: number, local and remote address, state.
fn read_row(line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    let state = match state {
        LISTEN => State::Listening,
        // In CLOSE-WAIT the client has said that it will send no more, and may still read.
        ESTABLISHED | CLOSE_WAIT => State::Open,
        TIME_WAIT => State::Over,
        // Being closed by us: the answer is on its way, and Envoy is done with it.
        _ => State::Over,
    };
    let mut hasher = DefaultHasher::new();
    (local, remote).hash(&mut hasher);
    Some(Row {
        port,
        state,
        identity: hasher.finish(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listeners::ListenerRef;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue\n";

    fn table(rows: &[(&str, &str, &str)]) -> Vec<Row> {
        let mut text = HEAD.to_owned();
        for (number, (local, remote, state)) in rows.iter().enumerate() {
            text +=
                &format!("   {number}: {local} {remote} {state} 00000000:00000000 00:00000000\n");
        }
        let mut read = Vec::new();
        read_rows(text.as_bytes(), &mut read).unwrap();
        read
    }

    #[test]
    fn counts_open_connections_on_ports_that_somebody_listens_on() {
        let rows = table(&[
            ("00000000:1F90", "00000000:0000", "0A"), // 8080
            ("00000000:1F9A", "00000000:0000", "0A"), // 8090: our own
            ("0100007F:1F90", "0100007F:D001", "01"),
            ("0100007F:1F90", "0100007F:D002", "08"),
            ("0100007F:1F90", "0100007F:D003", "06"),
            ("0100007F:D004", "0100007F:1F90", "01"), // the client's side
            ("0100007F:1F9A", "0100007F:D005", "01"),
            (
                "00000000000000000000000001000000:20FB",
                "00000000000000000000000000000000:0000",
                "0A",
            ),
            (
                "00000000000000000000000001000000:20FB",
                "00000000000000000000000001000000:9999",
                "01",
            ),
        ]);
        let counted = Table::new(8090).count(&rows, &Rules::default());
        assert_eq!(
            counted,
            Sockets {
                listening: 2,
                open: 3,
                arrived: 4
            }
        );
    }

    #[test]
    fn an_arrival_is_a_connection_not_seen_before_even_if_it_is_over() {
        let mut table_read = Table::new(8090);
        let listen = ("00000000:1F90", "00000000:0000", "0A");
        let one = ("0100007F:1F90", "0100007F:D001", "01");
        let two = ("0100007F:1F90", "0100007F:D002", "06");
        let rules = Rules::default();
        assert_eq!(table_read.count(&table(&[listen, one]), &rules).arrived, 1);
        assert_eq!(table_read.count(&table(&[listen, one]), &rules).arrived, 1);
        assert_eq!(
            table_read
                .count(&table(&[listen, one, two]), &rules)
                .arrived,
            2
        );
        assert_eq!(table_read.count(&table(&[listen, two]), &rules).arrived, 2);
    }

    #[test]
    fn ports_that_are_excluded_do_not_count() {
        let rules = Rules::new(
            vec![ListenerRef::new("8080")],
            vec![ListenerRef::new("8443")],
        );
        let rows = table(&[
            ("00000000:1F90", "00000000:0000", "0A"),
            ("0100007F:1F90", "0100007F:D001", "01"),
            ("00000000:20FB", "00000000:0000", "0A"),
            ("0100007F:20FB", "0100007F:D001", "01"),
        ]);
        let counted = Table::new(8090).count(&rows, &rules);
        assert_eq!(
            counted,
            Sockets {
                listening: 1,
                open: 1,
                arrived: 0
            }
        );
    }

    #[test]
    fn reads_the_real_table_of_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let before = Table::new(0).read(&Rules::default()).unwrap();
        let without = Table::new(port).read(&Rules::default()).unwrap();
        assert!(
            before.listening >= 1 && before.open >= 1,
            "{before:?} {without:?}"
        );
    }

    #[test]
    fn lines_that_are_no_rows_are_passed_over() {
        for line in ["", "x", "1: zz", "1: 0:0", "1: 00:GGGG 00:0 01", "\u{fffd}"] {
            assert_eq!(read_row(line), None, "{line:?}");
        }
    }
}
