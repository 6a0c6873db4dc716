//! `#[derive(Parameters)]` as a user's crate sees it: names, order, what is skipped.

use std::marker::PhantomData;
use std::time::Instant;

use evenkeel::nn::{FieldPath, LeafMut, LeafRef, Param, Parameters, State};

/// Paths of all leaves, states marked; checks that both visits agree.
#[track_caller]
fn leaves(mut tree: impl Parameters) -> String {
    let (mut seen, mut seen_mut) = (Vec::new(), Vec::new());
    let mut path = FieldPath::root();
    tree.visit(&mut path, &mut |path, leaf| match leaf {
        LeafRef::Param(_) => seen.push(path.to_string()),
        LeafRef::State(_) => seen.push(format!("{path} (state)")),
    });
    tree.visit_mut(&mut path, &mut |path, leaf| match leaf {
        LeafMut::Param(_) => seen_mut.push(path.to_string()),
        LeafMut::State(_) => seen_mut.push(format!("{path} (state)")),
    });
    assert_eq!(seen, seen_mut);
    assert_eq!(path, FieldPath::root());
    seen.join(", ")
}

fn param() -> Param {
    Param::zeros(&[2])
}

#[derive(Parameters)]
struct Linear {
    weight: Param,
    bias: Option<Param>,
    scale: f32,
}

fn linear(bias: bool) -> Linear {
    Linear { weight: param(), bias: bias.then(param), scale: 1.0 }
}

#[derive(Parameters)]
enum Norm {
    Off,
    Batch { gain: Param, running_mean: State },
    Scale(Param, &'static str, Param),
}

#[derive(Parameters)]
struct Block<T, F> {
    inner: T,
    norm: Norm,
    heads: [Linear; 2],
    r#type: (Param, (), Box<Param>),
    #[constant]
    activation: F,
    #[constant]
    built: Instant,
}

#[test]
fn paths_follow_fields_in_order_of_declaration() {
    let block = Block {
        inner: vec![linear(true), linear(false)],
        norm: Norm::Batch { gain: param(), running_mean: State::zeros(&[2]) },
        heads: [linear(false), linear(false)],
        r#type: (param(), (), Box::new(param())),
        activation: |x: f32| x.max(0.0),
        built: Instant::now(),
    };
    assert_eq!((block.activation)(-1.0), 0.0);
    assert!(block.built.elapsed().as_secs() < 600);
    assert_eq!(
        leaves(block),
        "inner.0.weight, inner.0.bias, inner.1.weight, norm.gain, norm.running_mean (state), \
         heads.0.weight, heads.1.weight, type.0, type.2"
    );
}

#[test]
fn only_the_active_variant_is_visited() {
    assert_eq!(leaves(Norm::Off), "");
    assert_eq!(leaves(vec![Norm::Off, Norm::Scale(param(), "unused", param())]), "1.0, 1.2");
}

#[test]
fn a_leaf_alone_has_the_empty_path() {
    assert_eq!(leaves((param(), vec![State::zeros(&[])])), "0, 1.0 (state)");
    let mut names = Vec::new();
    param().visit(&mut FieldPath::root(), &mut |path, _| names.push(path.to_string()));
    assert_eq!(names, [""]);
}

#[derive(Parameters)]
struct Constants<T>(bool, u8, i128, f64, char, String, PhantomData<T>);

#[derive(Parameters)]
struct Unit;

#[derive(Parameters)]
enum Never {}

#[test]
fn constants_have_no_leaves() {
    let constants = Constants::<Never>(true, 1, 2, 0.5, 'c', "text".into(), PhantomData);
    assert_eq!(leaves((constants, Unit, None::<Never>)), "");
}

#[test]
fn the_longest_tuple_has_eight_fields() {
    let tree = (param(), param(), param(), param(), param(), param(), param(), param());
    assert_eq!(leaves(tree), "0, 1, 2, 3, 4, 5, 6, 7");
}

/// A borrowed leaf outlives the visit, so a caller can collect leaves.
#[test]
fn changes_through_collected_leaves_stay() {
    let mut layer = linear(true);
    let mut collected = Vec::new();
    layer.visit_mut(&mut FieldPath::root(), &mut |_, leaf| collected.push(leaf));
    for leaf in collected {
        let tensor = match leaf {
            LeafMut::Param(param) => param.tensor_mut(),
            LeafMut::State(state) => state.tensor_mut(),
        };
        tensor.as_mut_slice::<f32>().unwrap().fill(3.0);
    }
    assert_eq!(layer.weight.tensor().to_f64s(), [3.0, 3.0]);
    assert_eq!(layer.bias.unwrap().tensor().to_f64s(), [3.0, 3.0]);
    assert_eq!(layer.scale, 1.0);
}

/// The derive also works inside generic trees of trees, and with lifetimes named like its own.
#[derive(Parameters)]
struct Borrowing<'a, T> {
    tree: Option<Box<T>>,
    #[constant]
    note: &'a str,
}

#[test]
fn trees_may_borrow_constants() {
    let note = String::from("note");
    let tree = Borrowing { tree: Some(Box::new(linear(false))), note: &note };
    assert_eq!(tree.note, "note");
    assert_eq!(leaves(tree), "tree.weight");
}
