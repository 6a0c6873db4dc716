//! Every op survives printing and reading; every mistake is reported at its place; no text panics.

mod errors;

use super::{ParseError, parse};
use crate::op::{
    Attr, Attrs, Binary, Class, Composite, CustomVjp, EpsKind, Op, RandomKind, Real, Reduce, Subgraph, Unary,
};
use crate::{Axes, DType, Extent, Graph, GraphBuilder, IrError, Shape, TensorType, Value};
use smallvec::smallvec;
use std::sync::Arc;

fn ty(dtype: DType, extents: &[Extent]) -> TensorType {
    TensorType::new(dtype, Shape(extents.iter().copied().collect()))
}

fn fixed(dtype: DType, sizes: &[usize]) -> TensorType {
    TensorType::new(dtype, Shape::of(sizes))
}

/// Prints and reads; gives the text.
#[track_caller]
fn survives(graph: &Graph) -> String {
    let text = graph.to_string();
    let read = parse(&text, "printed").unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(read == *graph, "changed by printing and reading:\n{text}\nread as:\n{read}");
    read.verify().unwrap();
    text
}

/// A graph of one op over inputs of these types.
fn single(op: Op, types: &[TensorType]) -> Graph {
    let mut b = GraphBuilder::new();
    let inputs: Vec<Value> =
        types.iter().enumerate().map(|(i, ty)| b.input(format!("x{i}"), ty.clone())).collect();
    let result = b.apply(op, &inputs).unwrap_or_else(|error| panic!("{error}"));
    let results = b.graph().node(result.node).types.len() as u32;
    let outputs = (0..results)
        .map(|result_index| (format!("r{result_index}"), Value { result: result_index, ..result }));
    b.finish(outputs.collect::<Vec<_>>())
}

fn operand_dtype(class: Class) -> DType {
    match class {
        Class::Float => DType::F64,
        Class::Number => DType::F32,
        Class::Int => DType::I64,
        Class::Bool => DType::Bool,
    }
}

#[test]
fn every_row_of_the_tables_survives() {
    for &op in Unary::ALL {
        let x = ty(operand_dtype(op.def().class), &[Extent::BATCH, 4.into()]);
        survives(&single(Op::Unary(op), &[x]));
    }
    for &op in Binary::ALL {
        let dtype = operand_dtype(op.def().class);
        survives(&single(Op::Binary(op), &[fixed(dtype, &[3, 4]), fixed(dtype, &[3, 1])]));
    }
    for &op in Reduce::ALL {
        for axes in [Axes::NONE, Axes::new([1]), Axes::new([0, 2])] {
            survives(&single(Op::Reduce(op, axes), &[fixed(DType::F32, &[2, 3, 4])]));
        }
    }
}

#[test]
fn every_composite_survives_with_every_attribute() {
    let x = ty(DType::F32, &[Extent::BATCH, 4.into(), 5.into()]);
    for &op in Composite::ALL {
        let reads = |attr| op.def().attrs.contains(&attr);
        let axes = if reads(Attr::Axes) { Axes::new([2]) } else { Axes::NONE };
        let mut attrs = vec![Attrs::over(axes)];
        if reads(Attr::Eps) {
            attrs.extend(EpsKind::NAMES.map(|(kind, _)| attrs[0].eps(1e-5, kind)));
        }
        if reads(Attr::Correction) {
            attrs.push(attrs[attrs.len() - 1].correction(1));
        }
        for attrs in attrs {
            survives(&single(Op::Composite(op, attrs), &vec![x.clone(); op.def().inputs.len()]));
        }
    }
}

/// One case of every other op: the op, the types of its operands.
fn cases() -> Vec<(Op, Vec<TensorType>)> {
    let (x, seed) = (fixed(DType::F32, &[6, 4]), TensorType::scalar(DType::I64));
    let (table, indices) = (fixed(DType::F32, &[5, 7]), fixed(DType::I32, &[2, 3]));
    let truth = fixed(DType::Bool, &[6, 1]);
    let mut cases = vec![
        (Op::Size(Extent { scale: 3, power: 2 }, DType::F32), vec![]),
        (Op::Size(Extent { scale: u64::MAX, power: 0 }, DType::F64), vec![]),
        (Op::Iota { rank: 3, axis: 1, extent: Extent::BATCH }, vec![]),
        (Op::Select, vec![truth, x.clone(), x.clone()]),
        (Op::StopGradient, vec![x.clone()]),
        (Op::Reshape(Shape::of(&[2, 3, 4])), vec![x.clone()]),
        (Op::Transpose(smallvec![1, 0]), vec![x.clone()]),
        (Op::Transpose(smallvec![]), vec![seed.clone()]),
        (Op::Broadcast(Shape::of(&[3, 6, 4])), vec![x.clone()]),
        (Op::Slice { axis: 0, start: 1, length: 2, stride: 3 }, vec![x.clone()]),
        (Op::Pad { axis: 1, low: 1, high: 2, interior: 3 }, vec![x.clone()]),
        (Op::Concat { axis: 1 }, vec![x.clone(), x.clone(), fixed(DType::F32, &[6, 1])]),
        (Op::Flip(Axes::new([0, 1])), vec![x.clone()]),
        (Op::Flip(Axes::NONE), vec![x.clone()]),
        (
            Op::Dot { batch: 0, lhs: Axes::new([1]), rhs: Axes::new([0]) },
            vec![x.clone(), fixed(DType::F32, &[4, 2])],
        ),
        (Op::Dot { batch: 1, lhs: Axes::new([1]), rhs: Axes::new([1]) }, vec![x.clone(), x.clone()]),
        (Op::Dot { batch: 0, lhs: Axes::NONE, rhs: Axes::NONE }, vec![x.clone(), x.clone()]),
        (Op::Gather { axis: 1 }, vec![table, indices.clone()]),
        (
            Op::ScatterAdd { axis: 0, size: Extent { scale: 2, power: 1 } },
            vec![fixed(DType::F32, &[2, 3, 7]), indices],
        ),
    ];
    cases.extend(DType::all().map(|dtype| (Op::Cast(dtype), vec![x.clone()])));
    cases.extend(RandomKind::NAMES.map(|(kind, _)| {
        let dtype = if kind == RandomKind::Bits { DType::I32 } else { DType::F32 };
        let ty = ty(dtype, &[Extent::BATCH, 64.into()]);
        (Op::Random { kind, stream: u64::MAX, ty }, vec![seed.clone()])
    }));
    cases
}

#[test]
fn every_other_op_survives() {
    for (op, types) in cases() {
        survives(&single(op, &types));
    }
}

#[test]
fn constants_survive_bit_for_bit() {
    let odd = f64::from_bits(f64::NAN.to_bits() ^ (1 << 63) | 5);
    for number in
        [0.0, 1.0, -1.5, 1e-5, 0.1, 1e300, 5e-324, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, odd, 9e15]
    {
        for dtype in DType::all() {
            survives(&single(Op::Const(Real::new(number), dtype), &[]));
        }
    }
}

fn square_graph() -> Subgraph {
    let mut b = GraphBuilder::new();
    let x = b.input("x", fixed(DType::F32, &[3]));
    let y = b.square(x);
    Subgraph(Arc::new(b.finish([("y".to_string(), y), ("residual".to_string(), x)])))
}

#[test]
fn called_graphs_are_printed_once_and_survive() {
    let callee = square_graph();
    let mut b = GraphBuilder::new();
    let x = b.input("odd name \"\\\n", fixed(DType::F32, &[3]));
    let first = b.op(Op::Call(callee.clone()), &[x]);
    let late = b.input("late", fixed(DType::F32, &[3]));
    let second = b.op(Op::Call(callee.clone()), &[Value { result: 1, ..first }]);
    let outer = b.finish([("y".to_string(), second), (String::new(), late), ("return".to_string(), x)]);

    let mut b = GraphBuilder::new();
    let (x, z) = (b.input("x", fixed(DType::F32, &[3])), b.input("z", fixed(DType::F32, &[3])));
    let y = b.op(Op::Call(Subgraph(Arc::new(outer))), &[x, z]);
    let again = b.op(Op::Call(callee), &[y]);
    let text = survives(&b.finish([("y".to_string(), again)]));
    assert_eq!(text.matches("square x").count(), 1, "{text}");
    assert!(
        text.contains("graph g0(x: f32[3]) {\n  %1 = square x\n  return y=%1, residual=x\n}\n"),
        "{text}"
    );
}

#[test]
fn functions_with_their_own_derivative_survive() {
    let mut b = GraphBuilder::new();
    let residual = b.input("residual", fixed(DType::F32, &[3]));
    let cotangent = b.input("cotangent", fixed(DType::F32, &[3]));
    let gradient = b.mul(residual, cotangent);
    let backward = Subgraph(Arc::new(b.finish([("x".to_string(), gradient)])));
    let custom = CustomVjp { forward: square_graph(), backward, results: 1, differentiable: 1 };
    let text = survives(&single(Op::CustomVjp(Box::new(custom)), &[fixed(DType::F32, &[3])]));
    assert!(
        text.contains("%1.0, %1.1 = custom_vjp forward=g0 backward=g1 results=1 differentiable=1 x0"),
        "{text}"
    );
}

#[test]
fn a_graph_without_outputs_survives() {
    let empty = Subgraph(Arc::new(GraphBuilder::new().finish([])));
    let text = survives(&single(Op::Call(empty), &[]));
    assert_eq!(text, "graph g0() {\n  return\n}\ncall g0\nreturn\n");
}

#[test]
fn the_softmax_example_is_read_line_by_line() {
    let graph = parse(
        "# softmax\nx = input f32[N,64] # rows\n\ne = exp (sub x (max @-1 x))\nreturn div e (sum @-1 e)\n",
        "softmax.ek",
    );
    let graph = graph.unwrap();
    assert_eq!(
        graph.to_string(),
        "x = input f32[N,64]\n%1 = max @1 x\n%2 = sub x %1\n%3 = exp %2\n%4 = sum @1 %3\n%5 = div %3 %4\nreturn y=%5\n"
    );
    let place = graph.provenance(crate::NodeId(2)).place.unwrap();
    assert_eq!(place.to_string(), "softmax.ek:4:10");
    survives(&graph);
}

#[test]
fn numbers_take_the_type_of_the_other_operands_and_print_back() {
    let source = "x = input f32[4]\ni = input i64[]\n%2 = lt x 0.5\n%5 = select %2 (add x 1e-5) -2\n\
                  k = add i 7\nreturn a=%5, k";
    let text = survives(&parse(source, "t").unwrap());
    assert!(text.contains("add x 1e-5") && text.contains("add i 7") && text.contains("lt x 0.5"), "{text}");
    assert!(text.contains("select %3 %5 -2.0") && text.ends_with("return a=%7, k=%9\n"), "{text}");
}

#[test]
fn a_constant_made_early_keeps_its_place() {
    let mut b = GraphBuilder::new();
    let x = b.input("x", fixed(DType::F32, &[3]));
    let one = b.number(x, 1.0);
    let e = b.exp(x);
    let y = b.add(e, one);
    let text = survives(&b.finish([("y".to_string(), y)]));
    assert!(text.contains("%1 = const f32 1.0\n"), "{text}");
}
