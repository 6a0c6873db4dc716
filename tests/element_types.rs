//! Every op on every element type that it accepts: compiled against interpreted.
//!
//! The type rules decide which combinations there are, so a new row is covered when it is written.
//! Not here: accuracy on floats (`oracle`). Start at [`same`].

use crate::oracle::check;
use evenkeel_ir::op::RandomKind;
use evenkeel_ir::{Axes, Binary, DType, Extent, Graph, GraphBuilder, Op, Reduce, Shape, TensorType, Unary};
use evenkeel_runtime::Tensor;

const EXECUTABLE: [DType; 5] = [DType::F32, DType::F64, DType::I32, DType::I64, DType::Bool];

/// Batch by 3.
fn rows(dtype: DType) -> TensorType {
    TensorType::new(dtype, Shape([Extent::BATCH, Extent::from(3)].into_iter().collect()))
}

/// Small numbers of a type, of both signs where it has them; `seed` moves them.
fn numbers(ty: &TensorType, batch: usize, seed: i64) -> Tensor {
    let sizes = ty.shape.at(batch as u64);
    let values: Vec<i64> =
        (0..sizes.iter().product::<usize>() as i64).map(|i| (i * 7 + seed) % 9 - 4).collect();
    let floats = values.iter().map(|&v| v as f64 + 0.25);
    match ty.dtype {
        DType::F32 => Tensor::from_vec(&sizes, floats.map(|v| v as f32).collect::<Vec<_>>()),
        DType::F64 => Tensor::from_vec(&sizes, floats.collect::<Vec<_>>()),
        DType::I32 => Tensor::from_vec(&sizes, values.iter().map(|&v| v as i32).collect::<Vec<_>>()),
        DType::I64 => Tensor::from_vec(&sizes, values.iter().map(|&v| v << 33 | 1).collect::<Vec<_>>()),
        DType::Bool => Tensor::from_vec(&sizes, values.iter().map(|&v| v > 0).collect::<Vec<_>>()),
        DType::F16 | DType::Bf16 => unreachable!("not executable"),
    }
    .unwrap()
}

/// The graph of one op, if the type rules allow it.
fn single(op: &Op, types: &[TensorType]) -> Option<Graph> {
    let mut b = GraphBuilder::new();
    let inputs: Vec<_> =
        types.iter().enumerate().map(|(i, ty)| b.input(format!("x{i}"), ty.clone())).collect();
    let result = b.apply(op.clone(), &inputs).ok()?;
    Some(b.finish([("y".to_string(), result)]))
}

/// Compares one op on operands of these types, if the type rules allow it.
fn same(op: Op, types: &[TensorType]) -> bool {
    let Some(graph) = single(&op, types) else { return false };
    for batch in [1, 2, 5, 70] {
        let inputs: Vec<Tensor> = types.iter().zip(1..).map(|(ty, seed)| numbers(ty, batch, seed)).collect();
        check(&graph, &inputs, 2e-5);
    }
    true
}

#[test]
fn functions_of_elements() {
    let mut found = 0;
    for dtype in EXECUTABLE {
        let x = rows(dtype);
        let row = TensorType::new(dtype, Shape::of(&[3]));
        found += Unary::ALL.iter().filter(|&&op| same(Op::Unary(op), std::slice::from_ref(&x))).count();
        for &op in Binary::ALL {
            found += usize::from(same(Op::Binary(op), &[x.clone(), x.clone()]));
            same(Op::Binary(op), &[x.clone(), row.clone()]);
        }
        assert!(same(Op::Select, &[rows(DType::Bool), x.clone(), x.clone()]));
    }
    assert!(found > 2 * Unary::ALL.len() + 2 * Binary::ALL.len(), "{found} combinations");
}

#[test]
fn conversions() {
    for from in EXECUTABLE {
        for to in EXECUTABLE {
            assert!(same(Op::Cast(to), &[rows(from)]), "{from} to {to}");
        }
    }
}

#[test]
fn reductions() {
    for dtype in [DType::F32, DType::F64, DType::I32, DType::I64] {
        for &op in Reduce::ALL {
            for axes in [Axes::new([1]), Axes::new([0]), Axes::all(2)] {
                assert!(same(Op::Reduce(op, axes), &[rows(dtype)]), "{} of {dtype}", op.name());
            }
        }
    }
}

#[test]
fn movement() {
    for dtype in EXECUTABLE {
        let x = rows(dtype);
        let with = |sizes: &[Extent]| Shape(sizes.iter().copied().collect());
        let ops = [
            Op::Reshape(with(&[Extent::BATCH.times(Extent::from(3))])),
            Op::Transpose([1, 0].into_iter().collect()),
            Op::Broadcast(with(&[Extent::from(2), Extent::BATCH, Extent::from(3)])),
            Op::Slice { axis: 1, start: 0, length: 2, stride: 2 },
            Op::Pad { axis: 1, low: 1, high: 2, interior: 1 },
            Op::Flip(Axes::new([0, 1])),
            Op::StopGradient,
        ];
        for op in ops {
            let name = op.name();
            assert!(same(op, std::slice::from_ref(&x)), "{name} of {dtype}");
        }
        assert!(same(Op::Concat { axis: 1 }, &[x.clone(), x.clone()]), "concat of {dtype}");
    }
}

#[test]
fn indexed_access() {
    for dtype in EXECUTABLE {
        for index in [DType::I32, DType::I64] {
            let indices = TensorType::new(index, Shape([Extent::BATCH].into_iter().collect()));
            let table = TensorType::new(dtype, Shape::of(&[5, 4]));
            for axis in [0, 1] {
                assert!(same(Op::Gather { axis }, &[table.clone(), indices.clone()]), "gather of {dtype}");
            }
            if dtype.is_float() {
                let op = Op::ScatterAdd { axis: 0, size: Extent::from(5) };
                assert!(same(op, &[rows(dtype), indices]), "scatter of {dtype}");
            }
        }
    }
}

#[test]
fn products() {
    for dtype in [DType::F32, DType::F64] {
        let weight = TensorType::new(dtype, Shape::of(&[4, 3]));
        let op = Op::Dot { batch: 0, lhs: Axes::new([1]), rhs: Axes::new([1]) };
        assert!(same(op, &[rows(dtype), weight]));
        let op = Op::Dot { batch: 1, lhs: Axes::new([1]), rhs: Axes::new([1]) };
        assert!(same(op, &[rows(dtype), rows(dtype)]));
    }
}

#[test]
fn random_numbers() {
    let seed = TensorType::scalar(DType::I64);
    for (kind, dtype) in [
        (RandomKind::Bits, DType::I32),
        (RandomKind::Uniform, DType::F32),
        (RandomKind::Uniform, DType::F64),
        (RandomKind::Normal, DType::F32),
        (RandomKind::Normal, DType::F64),
    ] {
        let ty = TensorType::new(dtype, Shape::of(&[37, 5]));
        assert!(
            same(Op::Random { kind, stream: 9, ty }, std::slice::from_ref(&seed)),
            "{} of {dtype}",
            kind.name()
        );
    }
}

#[test]
fn numbers_without_operands() {
    for dtype in EXECUTABLE {
        assert!(same(Op::Const(evenkeel_ir::Real::new(1.0), dtype), &[]));
    }
    for dtype in [DType::F32, DType::F64, DType::I32, DType::I64] {
        assert!(same(Op::Size(Extent::from(7), dtype), &[]));
    }
    assert!(same(Op::Iota { rank: 2, axis: 1, extent: Extent::from(9) }, &[]));
}
