//! Faults of a trace name the line of the user's code, through every method and layer.

use crate::errors::{Scale, f32s, faults};
use evenkeel::Error;
use evenkeel::nn::{FieldPath, LeafRef};
use evenkeel::prelude::*;
use evenkeel::trace::{Fault, bind, input, start};
use evenkeel_ir::Place;

#[test]
fn all_faults_of_a_trace_are_reported_each_with_its_line() {
    let first = line!() + 2;
    let error = faults(|x, y, i| {
        let a = x + y;
        let b = a.exp() * i;
        let _ = b.sum(-1);
        let _ = x.reshape([7]);
        with_module("block", || x.matmul(x));
    });
    let lines: Vec<u32> = error.faults.iter().map(|located| located.place.line).collect();
    // what follows from the first fault is no fault of its own
    assert_eq!(lines, [first, first + 3, first + 4]);
    assert!(error.faults.iter().all(|located| located.place.file.ends_with("tests/places.rs")));
    assert_eq!(error.faults[2].path.as_deref(), Some("block"));
    assert_eq!(error.to_string().lines().count(), 3);
}

#[test]
fn a_value_from_outside_is_a_fault_even_when_poisoned() {
    let mut leaked = None;
    trace(&[("x", f32s(&[2]))], |v| {
        leaked = Some(v[0]);
        vec![("x", v[0])]
    })
    .unwrap();
    // no trace runs here: nobody could report a fault
    let outside = leaked.unwrap().exp();
    for value in [outside, leaked.unwrap()] {
        let line = line!() + 1;
        let error = trace(&[("x", f32s(&[2]))], |v| vec![("y", v[0]), ("z", value)]).unwrap_err();
        assert_eq!(error.faults[0].fault, Fault::Foreign { op: "output" });
        assert_eq!(error.faults[0].place.line, line);
        let error = faults(|x, _, _| {
            let _ = (x + value, x.linear(value), value.sum(0));
        });
        assert!(matches!(error.faults[0].fault, Fault::Foreign { op: "add" }), "{error}");
    }
}

#[test]
fn a_value_captured_by_a_custom_derivative_is_reported_where_that_is_made() {
    let mut line = 0;
    let error = faults(|x, y, _| {
        line = line!() + 1;
        let _ = custom_vjp(&[y], |_| (x, vec![]), |_, g| vec![g]);
        let _ = custom_vjp(&[y], |y| (y[0].exp(), vec![]), |_, _| vec![x]);
    });
    let found: Vec<_> = error.faults.iter().map(|located| (&located.fault, located.place.line)).collect();
    let foreign = Fault::Foreign { op: "output" };
    assert_eq!(found, [(&foreign, line), (&foreign, line + 1)]);
}

#[test]
fn a_derivative_of_a_poisoned_value_reports_what_poisoned_it() {
    faults(|x, y, _| {
        let called: Result<Var, Error> = grad(|x: Var| x.sum(1).sum_all()).wrt(0).call(&[x + y]);
        let Err(Error::Trace(error)) = called else { panic!("a poisoned argument is an error") };
        assert!(error.to_string().starts_with("add: shapes do not fit"), "{error}");
        assert_eq!(error.faults.len(), 1);
    });
}

#[test]
fn inputs_and_results_have_names_of_their_own() {
    let error = trace(&[("x", f32s(&[])), ("x", f32s(&[]))], |v| vec![("y", v[0]), ("y", v[1])]).unwrap_err();
    let named = |what: &'static str, name: &str| Fault::Name { what, name: name.into() };
    let found: Vec<Fault> = error.faults.into_iter().map(|located| located.fault).collect();
    assert_eq!(found, [named("inputs", "x"), named("results", "y")]);
    let x = Tensor::full(&[3, 2], 1f32);
    let loss = |m: &Scale, x: Var| ((&m.gain * x).sum_all(), metrics! { nonfinite: x.sum_all() });
    let line = line!() + 1;
    let error = train_step(Scale::new(), Sgd::new(0.1), loss).compile(&x).err().unwrap();
    let Error::Trace(error) = error else { panic!("{error}") };
    assert_eq!((&error.faults[0].fault, error.faults[0].place.line), (&named("results", "nonfinite"), line));
}

/// The one fault of a layer on `f32[4,6]` is at the line that calls it.
#[track_caller]
fn reported_here(layer: &(impl Module + Parameters)) {
    let tracing = start(Mode::Train);
    layer.visit(&mut FieldPath::root(), &mut |path, leaf| {
        let tensor = match leaf {
            LeafRef::Param(param) => param.tensor(),
            LeafRef::State(state) => state.tensor(),
        };
        bind(leaf, input(path.as_str(), tensor.ty()));
    });
    let x = input("x", f32s(&[4, 6]));
    let y = layer.forward(x);
    let error = tracing.finish(vec![("y".into(), y)]).unwrap_err();
    let place = error.faults[0].place;
    assert!((place.file, place.line) == (file!(), Place::caller().line), "{error}");
}

#[test]
fn layers_report_the_line_that_calls_them() {
    let rng = &mut Rng::seed(0);
    reported_here(&Linear::new(rng, 5, 3));
    reported_here(&Linear { bias: Some(Param::zeros(&[4])), ..Linear::new(rng, 6, 3) });
    reported_here(&Embedding::new(rng, 3, 2));
    reported_here(&Dropout { p: 2.0 });
    reported_here(&LayerNorm::new(5));
    reported_here(&LayerNorm { bias: None, ..LayerNorm::new(5) });
    reported_here(&LayerNorm { axes: 3, ..LayerNorm::new(6).without_affine() });
    reported_here(&RmsNorm::new(5));
    reported_here(&RmsNorm { bias: Some(Param::zeros(&[5])), ..RmsNorm::new(6) });
    reported_here(&BatchNorm::new(5));
    reported_here(&BatchNorm { gain: Some(Param::ones(&[5])), ..BatchNorm::new(6) });
    reported_here(&BatchNorm { bias: Some(Param::ones(&[5])), ..BatchNorm::new(6) });
    reported_here(&GroupNorm::new(4, 6));
    reported_here(&GroupNorm::new(3, 9));
}
