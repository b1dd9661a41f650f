//! `generate`: lists instances at the cloud and writes manifests that delete them.

mod choose;
mod expect;

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, ValueEnum};
use instance_deletion_controller::{
    api::{
        Expect, InstanceDeletionSpec, MAX_IDS, MAX_SOAK, Moment, PowerOff, PowerOffWhen, Rollout, SecretRef,
    },
    cloud::{Inventory, InventoryInstance, Wanted},
    engine::InstanceId,
};

use self::choose::{Choice, ChoiceArgs, Found};
use crate::{
    args::{ClusterArgs, duration},
    failure::Failure,
    inventory::{CloudArgs, Servers, cloud_failure, servers},
    manifest::{Manifest, name_from},
    output::{count, print},
};

/// Arguments of `generate`.
#[derive(Args, Debug)]
#[command(
    after_help = "Several racks, rooms, states or files: any of them. Different options: all of them. The manifests have dryRun: true; \
    review them, then `kubectl apply`, `kubectl idel plan`, `kubectl idel start`."
)]
pub struct GenerateArgs {
    /// Region of the instances.
    #[arg(long, value_name = "REGION")]
    region: String,

    /// Project of the instances: 32 hexadecimal digits.
    #[arg(long, value_name = "ID", env = "HUAWEICLOUD_SDK_PROJECT_ID")]
    project: String,

    #[command(flatten)]
    cloud: CloudArgs,

    #[command(flatten)]
    choice: ChoiceArgs,

    #[command(flatten)]
    form: FormArgs,
}

/// What the manifests look like.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Manifests")]
struct FormArgs {
    /// Name of the object; several get -1, -2, … behind it. Else it is made from the choice.
    #[arg(long, value_name = "NAME")]
    object_name: Option<String>,

    /// Secret that the objects name, if it is not that of --secret.
    #[arg(long, value_name = "NAME")]
    credentials_secret: Option<String>,

    /// Most ids of one object.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=MAX_IDS as i64))]
    max_ids: u32,

    /// Write each object to a file NAME.yaml in this folder, instead of stdout.
    #[arg(long, value_name = "FOLDER")]
    output_dir: Option<PathBuf>,

    /// Leave spec.expect out.
    #[arg(long)]
    no_expect: bool,

    /// Leave spec.rollout out.
    #[arg(long, conflicts_with_all = ["rollout_limit", "max_in_flight", "max_failed"])]
    no_rollout: bool,

    /// First delete only so many instances of each object.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_IDS as i64))]
    rollout_limit: Option<u32>,

    /// Most instances of each object on their way at a time.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=MAX_IDS as i64))]
    max_in_flight: u32,

    /// If more instances of an object than this have failed, nothing new is sent for it.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=MAX_IDS as i64))]
    max_failed: u32,

    /// Power instances off before they are deleted.
    #[arg(long, value_name = "WHEN", value_enum)]
    power_off: Option<PowersOff>,

    /// How long each instance stays off before it is deleted, such as 3d, at most 90d; somebody who powers it on again keeps it.
    /// With --power-off always.
    #[arg(long, value_name = "DURATION", value_parser = soak, requires = "power_off")]
    soak: Option<u32>,
}

/// Which instances are powered off before they are deleted.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum PowersOff {
    /// Every running one.
    Always,
    /// Running instances that the cloud refuses to delete for their state.
    IfRefused,
}

/// The seconds of a soak.
fn soak(text: &str) -> Result<u32, String> {
    let seconds = u32::try_from(duration(text)?.as_secs()).ok();
    seconds.filter(|seconds| *seconds <= MAX_SOAK).ok_or_else(|| "a soak takes at most 90d".to_owned())
}

impl FormArgs {
    /// What the manifests say of powering off.
    fn power_off(&self) -> Result<Option<PowerOff>, Failure> {
        let when = match self.power_off {
            None => return Ok(None),
            Some(PowersOff::Always) => PowerOffWhen::Always,
            Some(PowersOff::IfRefused) if self.soak.is_some() => {
                return Err(Failure::usage(
                    "--soak needs --power-off always; with if-refused an instance is deleted as soon as it is off",
                ));
            }
            Some(PowersOff::IfRefused) => PowerOffWhen::IfRefused,
        };
        Ok(Some(PowerOff { when, soak_seconds: self.soak }))
    }
}

/// Writes the manifests.
pub async fn run(cluster: &ClusterArgs, args: GenerateArgs) -> Result<(), Failure> {
    let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if args.project.len() != 32 || !args.project.chars().all(hexadecimal) {
        return Err(Failure::usage(
            "--project must be 32 lower-case hexadecimal digits; copy it from My Credentials in the cloud's console",
        ));
    }
    let power_off = args.form.power_off()?;
    let choice = Choice::read(&args.choice)?;
    let inventory = args.cloud.inventory(cluster, &args.region, &args.project).await?;
    let servers = locations(&inventory, &choice).await?;
    let rows = list(&inventory, &choice, &servers).await?;
    let Found { mut chosen, left_out } = choice.of(rows, &servers);
    for line in left_out {
        eprintln!("left out: {line}");
    }
    chosen.retain(|row| {
        // The schema takes no other id.
        let usable = InstanceId::parse_reply(&row.id).is_ok();
        if !usable {
            eprintln!("left out: an instance whose id is no UUID");
        }
        usable
    });
    if chosen.is_empty() {
        return Err(Failure::failed(
            "no instance is left to delete, so no manifest was written; check the options",
        ));
    }
    choose::sort(&mut chosen, &servers);
    let expect = if args.form.no_expect { None } else { expect::of(&choice, &chosen) };
    if expect.is_none() && !args.form.no_expect {
        eprintln!("spec.expect is left out: no fact of these instances could be read");
    }
    let manifests = manifests(cluster, &args, &choice, &chosen, (expect.as_ref(), power_off), &servers);
    eprintln!("{} in {}", count(chosen.len(), "instance"), count(manifests.len(), "object"));
    write(&manifests, args.form.output_dir.as_deref())
}

/// Where the servers are. Without the right to list servers a choice that does not need racks goes on without them.
async fn locations(inventory: &Inventory, choice: &Choice) -> Result<Servers, Failure> {
    match servers(inventory).await {
        Ok(servers) => Ok(servers),
        Err(error) if choice.needs_places() => Err(cloud_failure("listing servers", &error)),
        Err(error) => {
            eprintln!("racks are left out: listing servers: {error}");
            Ok(Servers::new())
        }
    }
}

async fn list(
    inventory: &Inventory,
    choice: &Choice,
    servers: &Servers,
) -> Result<Vec<InventoryInstance>, Failure> {
    let rows = if let Some(ids) = &choice.ids {
        inventory.instances(Wanted::Ids(ids)).await
    } else if choice.needs_places() {
        let mut of_racks: Vec<String> = servers
            .values()
            .filter(|server| choice.place(Some(server)))
            .map(|server| server.id.clone())
            .collect();
        of_racks.sort();
        if of_racks.is_empty() {
            return Err(Failure::failed(
                "no server is in such a rack or room; check the names of --rack and --dc",
            ));
        }
        inventory.instances(Wanted::Servers(&of_racks)).await
    } else {
        inventory.instances(Wanted::All).await
    };
    rows.map_err(|error| cloud_failure("listing instances", &error))
}

fn manifests(
    cluster: &ClusterArgs,
    args: &GenerateArgs,
    choice: &Choice,
    chosen: &[InventoryInstance],
    (expect, power_off): (Option<&Expect>, Option<PowerOff>),
    servers: &Servers,
) -> Vec<Manifest> {
    let form = &args.form;
    let base = form.object_name.clone().unwrap_or_else(|| name_from(&format!("retire-{}", choice.name())));
    let secret = form.credentials_secret.as_ref().or(args.cloud.secret.as_ref());
    let size = usize::try_from(form.max_ids).unwrap_or(MAX_IDS);
    let parts: Vec<_> = chosen.chunks(size).collect();
    let several = parts.len() > 1;
    let one = |(index, part): (usize, &[InventoryInstance])| {
        let number = if several { format!("-{}", index + 1) } else { String::new() };
        let of = if several { format!(" Part {} of {}.", index + 1, parts.len()) } else { String::new() };
        let rollout = Rollout {
            limit: form.rollout_limit,
            max_in_flight: Some(form.max_in_flight),
            max_failed: Some(form.max_failed),
        };
        Manifest {
            about: vec![format!("{}: {}.{of}", count(part.len(), "instance"), choice.in_words())],
            name: format!("{base}{number}"),
            namespace: cluster.namespace.clone(),
            labels: BTreeMap::new(),
            spec: InstanceDeletionSpec {
                region: args.region.clone(),
                project_id: args.project.clone(),
                credentials_secret_ref: SecretRef {
                    name: secret.map_or("clouddc", String::as_str).to_owned(),
                },
                instance_ids: part.iter().map(|row| row.id.clone()).collect(),
                expect: expect.cloned(),
                rollout: (!form.no_rollout).then_some(rollout),
                power_off,
                suspend: None,
                dry_run: Some(true),
                not_found_policy: None,
                backoff_limit_per_instance: None,
                active_deadline_seconds: None,
                not_after: None::<Moment>,
                ttl_seconds_after_finished: None,
            },
            comments: part.iter().map(|row| choose::comment(row, servers)).collect(),
        }
    };
    parts.iter().copied().enumerate().map(one).collect()
}

fn write(manifests: &[Manifest], folder: Option<&std::path::Path>) -> Result<(), Failure> {
    let Some(folder) = folder else {
        let texts: Vec<String> = manifests.iter().map(Manifest::text).collect();
        return print(&texts.join("---\n"));
    };
    let failed = |what: &std::path::Path, error: std::io::Error| {
        Failure::failed(format!("writing {}: {error}", what.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for manifest in manifests {
        let file = folder.join(format!("{}.yaml", manifest.name));
        std::fs::write(&file, manifest.text()).map_err(|error| failed(&file, error))?;
        print(&format!("{}\n", file.display()))?;
    }
    Ok(())
}
