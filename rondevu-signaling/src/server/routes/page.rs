//! The page that people see at the address of a server.

use std::time::Duration;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::registry::Refusal;
use crate::server::Hub;

/// The page, with how much is live.
pub(super) async fn render(hub: &Hub, version: &str) -> Result<Response, Refusal> {
    let registry = &hub.shared.registry;
    let census = registry.store().census().await?;
    let address = hub.shared.public_url.as_deref();
    let address = escaped(address.unwrap_or("http://this-address"));
    let page = TEMPLATE
        .replace("{version}", version)
        .replace("{uptime}", &for_people(hub.shared.metrics.uptime()))
        .replace("{names}", &census.names.to_string())
        .replace("{services}", &census.services.to_string())
        .replace("{offers}", &census.offers.to_string())
        .replace("{waiting}", &registry.waiting().to_string())
        .replace("{address}", &address);
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
    ];
    Ok((headers, page).into_response())
}

fn for_people(time: Duration) -> String {
    let (days, hours) = (time.as_secs() / 86_400, time.as_secs() / 3600 % 24);
    let (minutes, seconds) = (time.as_secs() / 60 % 60, time.as_secs() % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Nothing is loaded and nothing runs.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

const TEMPLATE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Rondevu signaling server</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 42em; margin: 2em auto; padding: 0 1em; color-scheme: light dark }
td { padding: 0 1em 0 0 }
pre { overflow: auto; padding: .5em 1em; border: 1px solid #8888; border-radius: 4px }
</style>
<h1>Rondevu signaling server</h1>
<p>Programs find each other here by name, and then talk directly to each other.</p>
<table>
<tr><td>version</td><td>{version}</td></tr>
<tr><td>running for</td><td>{uptime}</td></tr>
<tr><td>usernames</td><td>{names}</td></tr>
<tr><td>live services</td><td>{services}</td></tr>
<tr><td>live offers</td><td>{offers}</td></tr>
<tr><td>waiting requests</td><td>{waiting}</td></tr>
</table>
<h2>How to connect</h2>
<p>At a shell, on two machines:</p>
<pre>export RONDEVU_SERVER={address}
rondevu pipe --listen alice/com.example.log@1.0.0 &gt; copy
rondevu pipe alice/com.example.log@1.0.0 &lt; file</pre>
<p>In a program: <code>Rondevu::new("{address}")</code>.</p>
<p>For programs in other languages: <a href="openapi.json">the description of the protocol</a>.
For operators: <a href="health">health</a>, <a href="metrics">metrics</a>.</p>
</html>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_people() {
        for (seconds, text) in [
            (5, "5 s"),
            (125, "2 min 5 s"),
            (3 * 3600 + 60, "3 h 1 min"),
            (2 * 86_400 + 3600, "2 d 1 h"),
        ] {
            assert_eq!(for_people(Duration::from_secs(seconds)), text);
        }
    }
}
