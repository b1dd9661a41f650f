//! tmp
fn main() {
    println!("{}", instance_deletion_controller::api::crd_yaml().unwrap());
}
