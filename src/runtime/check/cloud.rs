//! Reports the endpoints, proxies and certificates for the cloud, without calling it.

use hyper_util::client::proxy::matcher::Matcher;

use super::{
    super::{args::RunArgs, cluster::check_proxies},
    report::Report,
};
use crate::{
    cloud::{Client, Endpoint, Endpoints},
    text::without_passwords,
};

/// Tells which URLs would be called, through which proxy, and whose certificates are trusted.
pub fn tell(report: &mut Report, args: &RunArgs, endpoints: &Endpoints) {
    report.section("Cloud");
    // As the cloud's client finds its proxy.
    let proxies = Matcher::from_system();
    for region in args.regions() {
        let (Ok(clouddc), Ok(iam)) = (endpoints.of(&region), endpoints.iam(&region)) else { continue };
        if endpoints.allows(&region) {
            report.line(&format!("region {region}: CloudDC at {}", called(&proxies, &clouddc)));
            report.line(&format!("region {region}: IAM at {}", called(&proxies, &iam)));
        } else {
            report.line(&format!("region {region}: never called, since --allowed-region leaves it out"));
        }
    }
    if endpoints.allows_every() {
        report
            .line("regions not named here: the vendor's endpoints, https://clouddc.REGION.myhuaweicloud.com");
    } else {
        report.line("other regions: never called");
    }
    match check_proxies(|name| std::env::var(name).ok()) {
        Ok(()) => {}
        Err(error) => report.problem(&error.to_string()),
    }
    match (Client::new(&args.client_options()), &args.ca_file) {
        (Ok(_), None) => report.line("certificates: the system's"),
        (Ok(_), Some(file)) => {
            report.line(&format!("certificates: the system's, and those in {}", file.display()));
        }
        (Err(error), _) => report.problem(&without_passwords(&error.to_string())),
    }
}

fn called(proxies: &Matcher, endpoint: &Endpoint) -> String {
    let url = endpoint.to_string();
    let proxy = url.parse().ok().and_then(|url| proxies.intercept(&url));
    match proxy {
        Some(proxy) => format!("{url}, through the proxy {}", without_passwords(&proxy.uri().to_string())),
        None => format!("{url}, without a proxy"),
    }
}
