//! Every small configuration holds in every state.

use model::{Model, configuration::Configuration, configurations, explore::Search};

fn holds(name: &str) {
    let model = Model::new(configurations::find(name).unwrap()).unwrap();
    let report = Search::new(&model).run(usize::MAX, |_, _| {});
    println!("{report}");
    assert!(report.complete, "{report}");
}

macro_rules! configurations {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            holds($name);
        })*

        #[test]
        fn each_small_configuration_has_its_test() {
            let tested = [$($name),*];
            let small = configurations::small();
            let names: Vec<_> = small.iter().map(|Configuration { name, .. }| *name).collect();
            assert_eq!(names, tested);
        }
    };
}

configurations! {
    one_process: "one-process",
}
