//! Values that decide are the same bits in every kernel that computes them.
//!
//! Where a value is compared, rounded to an integer or looked for, the last bit counts: a maximum
//! that equals no element of what another kernel recomputes has no gradient. The sweep asks for what
//! exact bits imply, whatever they are: all of the cotangent of a maximum reaches some element, the
//! maximum is found among the elements, an index is that of a largest element, and a fraction lies
//! between 0 and 1. `EVENKEEL_LONG_TESTS=N` takes N programs of the sweep; there are some
//! thousands. Start at [`Program::check`].

use crate::oracle::{check, numbers, run_on, strided, widths, with_gradients};
use evenkeel_compiler::Options;
use evenkeel_compiler::grad::{backward, inline};
use evenkeel_ir::eval::eval_at;
use evenkeel_ir::op::{Class, Derivative};
use evenkeel_ir::{
    Attrs, Axes, Binary, Composite, DType, Extent, Graph, GraphBuilder, Literal, Op, Reduce, Shape,
    TensorType, Unary, Value,
};
use evenkeel_runtime::Tensor;

const ROWS: u64 = 37;
const COLUMNS: usize = 24;

/// What the op under test is applied to, from two tensors, a scale and a shift of their columns.
type Argument = fn(&mut GraphBuilder, [Value; 4]) -> Value;

const ARGUMENTS: &[Argument] = &[
    |b, [x, _, w, c]| {
        let scaled = b.mul(x, w);
        b.add(scaled, c)
    },
    |b, [x, y, ..]| {
        let divisor = positive(b, y);
        b.div(x, divisor)
    },
    |b, [x, ..]| {
        let three = b.number(x, 3.0);
        b.div(x, three)
    },
    |b, [x, y, w, _]| {
        let product = b.mul(x, y);
        b.sub(w, product)
    },
];

/// What else reads a value, given what was found in it: named outputs.
type Reader = fn(&mut GraphBuilder, Value, Option<Value>) -> Vec<(&'static str, Value)>;

const READERS: &[Reader] = &[
    |_, _, _| vec![],
    |b, h, _| vec![("tanh", b.tanh(h))],
    |b, h, found| {
        let below = found.map_or(h, |found| b.sub(h, found));
        vec![("below", b.exp(below))]
    },
    |b, h, _| {
        let squares = b.square(h);
        vec![("columns", b.sum(squares, Axes::new([0]))), ("rows", b.sum(squares, Axes::new([1])))]
    },
    |b, h, _| {
        let whole = b.floor(h);
        vec![("whole", b.sum(whole, Axes::new([0]))), ("fraction", b.sub(h, whole))]
    },
    |b, h, found| {
        let Some(found) = found else { return vec![] };
        let equal = b.eq(h, found);
        let equal = b.cast(equal, b.ty(h).dtype);
        let axes = (0..2).filter(|&axis| b.ty(found).shape[axis] != b.ty(h).shape[axis]);
        let axes = Axes::new(axes);
        vec![("count", b.sum(equal, axes)), ("tanh", b.tanh(h))]
    },
];

const AXES: [&[usize]; 3] = [&[0], &[1], &[0, 1]];

/// How an element is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Search {
    Extreme(Reduce),
    Index,
}

const SEARCHES: [Search; 3] = [Search::Extreme(Reduce::Max), Search::Extreme(Reduce::Min), Search::Index];

fn positive(b: &mut GraphBuilder, x: Value) -> Value {
    let half = b.number(x, 0.5);
    let size = b.abs(x);
    b.add(size, half)
}

/// Pointwise ops on floats that give floats.
fn ops() -> Vec<Op> {
    let unary = Unary::ALL.iter().filter(|f| f.def().class != Class::Bool).map(|&f| Op::Unary(f));
    let binary = Binary::ALL.iter().filter(|f| !f.def().gives_bool).map(|&f| Op::Binary(f));
    unary.chain(binary).collect()
}

#[derive(Clone, Debug)]
struct Program {
    op: Op,
    argument: usize,
    reader: usize,
    axes: &'static [usize],
    search: Search,
}

impl Program {
    fn all() -> Vec<Program> {
        let mut all = Vec::new();
        for op in ops() {
            for (axes, search) in AXES.iter().flat_map(|axes| SEARCHES.map(|search| (*axes, search))) {
                if search == Search::Index && axes.len() > 1 {
                    continue;
                }
                let places = (0..ARGUMENTS.len()).flat_map(|a| (0..READERS.len()).map(move |r| (a, r)));
                all.extend(places.map(|(argument, reader)| Program {
                    op: op.clone(),
                    argument,
                    reader,
                    axes,
                    search,
                }));
            }
        }
        all
    }

    /// The value under test, in a graph of its own.
    fn value(&self, b: &mut GraphBuilder, dtype: DType) -> Value {
        let tensor = Shape([Extent::BATCH, Extent::from(COLUMNS)].into_iter().collect());
        let column = Shape([Extent::from(COLUMNS)].into_iter().collect());
        let shapes = [("x", tensor.clone()), ("y", tensor), ("w", column.clone()), ("c", column)];
        let inputs = shapes.map(|(name, shape)| b.input(name, TensorType::new(dtype, shape)));
        let argument = ARGUMENTS[self.argument](b, inputs);
        let into = |b: &mut GraphBuilder, x: Value, (low, _): (f64, f64)| {
            if low > -1.0 { positive(b, x) } else { x }
        };
        match &self.op {
            Op::Unary(f) => {
                let x = into(b, argument, f.def().domain);
                b.unary(*f, x)
            }
            Op::Binary(f) => {
                let [left, right] = f.def().domain;
                let (x, y) = (into(b, argument, left), into(b, inputs[1], right));
                b.binary(*f, x, y)
            }
            other => unreachable!("{} is not a row of a table", other.name()),
        }
    }

    /// Does a cotangent pass through the op?
    fn has_derivative(&self) -> bool {
        match &self.op {
            Op::Unary(f) => matches!(f.def().derivative, Derivative::Rule(_)),
            Op::Binary(f) => matches!(f.def().partials, Derivative::Rule(_)),
            _ => false,
        }
    }

    /// The program, with the gradients of an extreme towards the value and the inputs, if it has any.
    fn graph(&self, dtype: DType) -> Graph {
        let mut b = GraphBuilder::new();
        let h = self.value(&mut b, dtype);
        let axes = Axes::new(self.axes.iter().copied());
        let (name, found) = match self.search {
            Search::Extreme(op) => ("found", b.reduce(op, h, axes)),
            Search::Index => ("index", b.composite(Composite::ArgMax, &[h], Attrs::over(axes))),
        };
        let extreme = (self.search != Search::Index).then_some(found);
        let mut outputs = vec![(name, found)];
        outputs.extend(READERS[self.reader](&mut b, h, extreme));
        let forward = b.finish(outputs.iter().map(|(name, value)| (name.to_string(), *value)));
        if extreme.is_none() || !self.has_derivative() {
            return forward;
        }
        let mut b = GraphBuilder::new();
        let inputs: Vec<Value> = forward.inputs().iter().map(|i| b.input(&i.name, i.ty.clone())).collect();
        let map = inline(&mut b, &forward, &inputs);
        let cotangent = b.input("cotangent", forward.ty(found).clone());
        let wrt: Vec<Value> = [h].into_iter().chain(forward.input_values()).collect();
        let gradients = backward(&mut b, &forward, &map, &[(found, cotangent)], &wrt).unwrap().gradients;
        let values =
            outputs.iter().map(|(name, v)| (name.to_string(), map[v.node.0 as usize][v.result as usize]));
        let values: Vec<_> = values.collect();
        let names = ["gradient", "x", "y", "w", "c"].map(str::to_string);
        b.finish(values.into_iter().chain(names.into_iter().zip(gradients)))
    }

    /// Runs the program and asks for what exact bits imply.
    fn check(&self, seed: u64) {
        let targets = widths();
        let target = &targets[seed as usize % targets.len()];
        for dtype in [DType::F32, DType::F64] {
            let graph = self.graph(dtype);
            let at = |(place, input): (usize, &evenkeel_ir::Input)| {
                let x = numbers(&input.ty.shape.at(ROWS), seed.wrapping_mul(31).wrapping_add(place as u64));
                Tensor::from_literal(&Literal::floats(dtype, x.sizes(), x.to_f64s()))
            };
            let inputs: Vec<Tensor> = graph.inputs().iter().enumerate().map(at).collect();
            let outputs = run_on(target, &graph, &inputs, &Options::default());
            let names = graph.outputs().iter().map(|(name, _)| name.as_str());
            for (name, output) in names.zip(&outputs) {
                let numbers = output.to_f64s();
                let fine = match name {
                    "count" => numbers.iter().all(|&count| count >= 1.0),
                    "fraction" => numbers.iter().all(|&part| (0.0..=1.0).contains(&part)),
                    "gradient" => self.shares(&numbers, &inputs[inputs.len() - 1].to_f64s()),
                    "index" => self.finds(&numbers, &inputs),
                    _ => numbers.iter().all(|x| !x.is_nan()),
                };
                assert!(fine, "{self:?}, {dtype}, seed {seed}: {name} is {numbers:?}\n{graph}");
            }
        }
    }

    /// The row of results that an element belongs to.
    fn place(&self, element: usize) -> usize {
        match self.axes {
            [0] => element % COLUMNS,
            [1] => element / COLUMNS,
            _ => 0,
        }
    }

    /// Do the gradients of the elements add up to the cotangents?
    fn shares(&self, gradient: &[f64], cotangents: &[f64]) -> bool {
        let mut sums = vec![0.0; cotangents.len()];
        gradient.iter().enumerate().for_each(|(i, share)| sums[self.place(i)] += share);
        sums.iter().zip(cotangents).all(|(sum, cotangent)| (sum - cotangent).abs() <= 1e-5)
    }

    /// Is every index that of an element as large as any?
    fn finds(&self, indices: &[f64], inputs: &[Tensor]) -> bool {
        let mut b = GraphBuilder::new();
        let h = self.value(&mut b, DType::F64);
        let graph = b.finish([("h".to_string(), h)]);
        let widened = |x: &Tensor| Literal::floats(DType::F64, x.sizes(), x.to_f64s());
        let literals: Vec<Literal> = inputs.iter().map(widened).collect();
        let elements = eval_at(&graph, &literals, ROWS)[0].to_floats();
        let mut largest = vec![f64::NEG_INFINITY; indices.len()];
        let mut found = largest.clone();
        for (i, &x) in elements.iter().enumerate() {
            let (place, along) = (self.place(i), if self.axes == [0] { i / COLUMNS } else { i % COLUMNS });
            largest[place] = largest[place].max(x);
            if along as f64 == indices[place] {
                found[place] = x;
            }
        }
        largest.iter().zip(&found).all(|(largest, found)| largest - found <= 1e-4 * largest.abs().max(1.0))
    }
}

#[test]
fn what_decides_is_the_same_bits_in_every_kernel() {
    let all = Program::all();
    let count =
        std::env::var("EVENKEEL_LONG_TESTS").map_or(150, |n| n.parse().expect("a number of programs"));
    // a stride that meets every program once
    let stride = (1..).map(|k| all.len() * 5 / 8 + k).find(|&k| coprime(k, all.len())).expect("a prime");
    (0..all.len().min(count)).for_each(|i| all[i * stride % all.len()].check(i as u64));
}

fn coprime(a: usize, b: usize) -> bool {
    if b == 0 { a == 1 } else { coprime(b, a % b) }
}

#[test]
fn an_extreme_of_what_other_kernels_recompute_keeps_its_gradient() {
    let cases = [
        "x = input f32[N,24]\nw = input f32[24]\nb = input f32[24]\ny = add (mul x w) b
         return c=(sum @0 (cast f32 (eq y (max @0 y)))), t=(tanh (mul x w))",
        "x = input f32[N,4]\nh = hardswish (div x 3)\nv = max @0 h\nreturn y=(softmax @1 v), v=v",
        "v5 = input f32[64]\nv11 = input f32[16]\nv14 = min @0 (div v5 (add (abs v5) 0.5))\nreturn min v14 v11",
        "x = input f32[N,24]\nw = input f32[24]\nb = input f32[24]\np = mul x w
         return m=(max @0,1 (add p b)), t=(tanh p)",
    ];
    for text in cases {
        let (forward, _) = strided(text, 70);
        let differentiable = forward.outputs().iter().all(|(name, _)| name != "c");
        let graph = if differentiable { with_gradients(&forward, forward.inputs().len()) } else { forward };
        let at = |(place, input): (usize, &evenkeel_ir::Input)| numbers(&input.ty.shape.at(70), place as u64);
        let inputs: Vec<Tensor> = graph.inputs().iter().enumerate().map(at).collect();
        check(&graph, &inputs, 2e-5);
    }
}

#[test]
fn rows_that_do_not_jump_are_continuous() {
    for f in Unary::ALL.iter().filter(|f| !f.def().jumps && f.def().class != Class::Bool) {
        let (low, high) = (f.def().domain.0.max(-20.0), f.def().domain.1.min(20.0));
        for place in (low * 16.0).ceil() as i64..=(high * 16.0).floor() as i64 {
            let x = place as f64 / 16.0;
            let [below, above] = [x - 1e-9, x + 1e-9].map(f.def().eval);
            let near = !(below - above).is_finite() || (below - above).abs() <= 1e-6 * above.abs().max(1.0);
            assert!(near, "{} jumps at {x}: {below} and {above}", f.name());
        }
    }
}
