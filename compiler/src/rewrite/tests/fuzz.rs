//! Random expressions against their normal forms, in f64.
//!
//! A seed decides an expression over a 2 x 3 index space and its inputs. Every value of it must
//! equal the value of its form, and so values that share a form must equal each other, to 1e-9
//! of the largest intermediate. A fourth of them know bounds of their inputs, as in proofs by
//! cases. `EVENKEEL_LONG_TESTS` set runs 100,000 expressions.

use crate::rewrite::normal::{AxisMask, Evaluator, Form};
use crate::rewrite::reader::{Forms, Reader};
use crate::rewrite::recognize;
use evenkeel_ir::eval;
use evenkeel_ir::eval::eval_nodes;
use evenkeel_ir::op::{Attrs, Binary, Composite, EpsKind, Unary};
use evenkeel_ir::random::threefry;
use evenkeel_ir::{Axes, DType, Graph, GraphBuilder, Literal, Op, Reduce, Shape, TensorType, Value};
use std::collections::HashMap;

const SPACE: [usize; 2] = [2, 3];

/// How far values of one form may be apart, of the largest intermediate.
const TOLERANCE: f64 = 1e-9;

/// A difference that errors of this size in the sums of the form explain is cancellation, or a
/// comparison of equal numbers.
const NOISE: f64 = 1e-11;

/// A reproducible source of choices.
struct Dice {
    seed: u32,
    rolls: u32,
    /// Numbers are positive.
    is_positive: bool,
}

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.rolls += 1;
        threefry([self.seed, 0], [self.rolls, 0])[0] as usize % sides
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.roll(all.len())]
    }

    /// A number between -2 and 2, or 0 and 2, never close to 0.
    fn number(&mut self) -> f64 {
        let size = 0.05 + 1.95 * self.roll(1 << 20) as f64 / f64::from(1 << 20);
        if self.is_positive || self.roll(2) == 0 { size } else { -size }
    }
}

const UNARY: &[Unary] = &[
    Unary::Neg,
    Unary::Square,
    Unary::Abs,
    Unary::Tanh,
    Unary::Sigmoid,
    Unary::Silu,
    Unary::Softplus,
    Unary::LogSigmoid,
    Unary::Relu,
    Unary::Relu6,
    Unary::Hardswish,
    Unary::Elu,
    Unary::Erf,
    Unary::Gelu,
    Unary::GeluTanh,
    Unary::Step,
    Unary::Sign,
    Unary::Sin,
];
/// Functions that want a positive operand.
const OF_POSITIVE: &[Unary] = &[Unary::Sqrt, Unary::Rsqrt, Unary::Recip, Unary::Log, Unary::Log1p];
const BINARY: &[Binary] = &[Binary::Add, Binary::Sub, Binary::Mul, Binary::Max, Binary::Min];
const COMPARISONS: &[Binary] = &[Binary::Gt, Binary::Lt, Binary::Ge, Binary::Le];
const NUMBERS: &[f64] = &[0.5, 2.0, -1.0, 3.0, 0.044715, -0.25, 1.0, 6.0, std::f64::consts::SQRT_2];
const EXPONENTS: &[f64] = &[2.0, 3.0, -1.0, 0.5, -0.5, 1.5, -2.0];

/// Grows an expression.
struct Grower {
    b: GraphBuilder,
    dice: Dice,
    values: Vec<Value>,
}

impl Grower {
    fn new(seed: u32) -> Grower {
        let mut b = GraphBuilder::new();
        let mut input =
            |name: &str, sizes: &[usize]| b.input(name, TensorType::new(DType::F64, Shape::of(sizes)));
        let values = vec![input("x", &[2, 3]), input("y", &[2, 3]), input("g", &[1, 3]), input("r", &[2, 1])];
        Grower { b, dice: Dice { seed, rolls: 0, is_positive: false }, values }
    }

    /// One of the values, rather a late one.
    fn value(&mut self) -> Value {
        let (a, b) = (self.dice.roll(self.values.len()), self.dice.roll(self.values.len()));
        self.values[a.max(b)]
    }

    fn number(&mut self) -> Value {
        let (like, number) = (self.values[0], self.dice.pick(NUMBERS));
        self.b.number(like, number)
    }

    /// Something that is never close to or below 0.
    fn positive(&mut self) -> Value {
        let x = self.value();
        let half = self.b.number(x, 0.5);
        match self.dice.roll(4) {
            0 => {
                let square = self.b.square(x);
                self.b.add(square, half)
            }
            1 => {
                let size = self.b.abs(x);
                self.b.add(size, half)
            }
            2 => {
                let bounded = self.b.tanh(x);
                self.b.exp(bounded)
            }
            _ => {
                let total = self.b.softplus(x);
                self.b.add(total, half)
            }
        }
    }

    fn axes(&mut self, x: Value) -> Option<Axes> {
        let axes = self.dice.pick(&[Axes::new([0]), Axes::new([1]), Axes::new([0, 1])]);
        let shape = &self.b.ty(x).shape;
        axes.iter().all(|axis| !shape[axis].is_one()).then_some(axes)
    }

    fn step(&mut self) {
        let x = self.value();
        let value = match self.dice.roll(12) {
            0..=2 => {
                let (op, y) = (self.dice.pick(BINARY), self.value());
                self.b.binary(op, x, y)
            }
            3 => {
                let (op, number) = (self.dice.pick(BINARY), self.number());
                self.b.binary(op, x, number)
            }
            4 | 5 => {
                let op = self.dice.pick(UNARY);
                self.b.unary(op, x)
            }
            6 => {
                let (op, positive) = (self.dice.pick(OF_POSITIVE), self.positive());
                self.b.unary(op, positive)
            }
            7 => {
                let divisor = self.positive();
                self.b.div(x, divisor)
            }
            8 => self.exponential_or_power(x),
            9 => self.choice(x),
            _ => self.statistic(x),
        };
        self.values.push(value);
    }

    /// A function of a value without its axis of size 1, which is added again.
    fn without_axis(&mut self) {
        let x = self.value();
        let shape = self.b.ty(x).shape.clone();
        let narrow = Shape(shape.0.iter().copied().filter(|extent| !extent.is_one()).collect());
        let mut value = self.b.reshape(x, &narrow);
        for _ in 0..1 + self.dice.roll(3) {
            let other = self.value();
            value = match self.dice.roll(3) {
                0 => {
                    let op = self.dice.pick(UNARY);
                    self.b.unary(op, value)
                }
                1 if self.b.ty(other).shape == shape => {
                    let other = self.b.reshape(other, &narrow);
                    let op = self.dice.pick(BINARY);
                    self.b.binary(op, value, other)
                }
                _ => {
                    let (op, number) = (self.dice.pick(BINARY), self.number());
                    self.b.binary(op, value, number)
                }
            };
        }
        let mut wide = self.b.reshape(value, &shape);
        if self.dice.roll(2) == 0 {
            wide = self.b.broadcast(wide, &Shape::of(&SPACE));
        }
        self.values.push(wide);
    }

    fn exponential_or_power(&mut self, x: Value) -> Value {
        if self.dice.roll(2) == 0 {
            let quarter = self.b.number(x, 0.25);
            let small = self.b.mul(x, quarter);
            return self.b.exp(small);
        }
        let (base, exponent) = (self.positive(), self.dice.pick(EXPONENTS));
        let exponent = self.b.number(base, exponent);
        self.b.binary(Binary::Pow, base, exponent)
    }

    fn choice(&mut self, x: Value) -> Value {
        let (op, y, z) = (self.dice.pick(COMPARISONS), self.value(), self.value());
        let threshold = if self.dice.roll(2) == 0 { self.number() } else { self.value() };
        let condition = self.b.binary(op, x, threshold);
        self.b.select(condition, y, z)
    }

    fn statistic(&mut self, x: Value) -> Value {
        let Some(axes) = self.axes(x) else { return self.b.neg(x) };
        match self.dice.roll(3) {
            0 => self.b.sum(x, axes),
            1 => self.b.reduce(Reduce::Max, x, axes),
            _ => {
                let all: Vec<Composite> =
                    Composite::ALL.iter().copied().filter(|op| op.def().inputs.len() == 1).collect();
                let op = self.dice.pick(&all);
                let kind = self.dice.pick(&[EpsKind::Inside, EpsKind::Outside, EpsKind::Clamp]);
                let reads = |attr| op.def().attrs.contains(&attr);
                let mut attrs = Attrs::over(axes);
                if reads(evenkeel_ir::op::Attr::Eps) {
                    attrs = attrs.eps(0.25, kind);
                }
                if op == Composite::ArgMax { self.b.sum(x, axes) } else { self.b.composite(op, &[x], attrs) }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    compared: usize,
    merged: usize,
    nonfinite: usize,
    cancelled: usize,
}

/// Values of every node over the whole index space, but for those that lost an axis.
fn values(graph: &Graph, inputs: &[Literal]) -> Vec<Vec<f64>> {
    let spread = |literal: &Literal| {
        let (numbers, sizes) = (literal.to_floats(), literal.ty().shape.at(1));
        if sizes.len() == 1 {
            return numbers;
        }
        let at = |place: usize| {
            let digits = [place / SPACE[1], place % SPACE[1]];
            let own = digits[2 - sizes.len()..].iter().zip(&sizes);
            own.fold(0, |index, (digit, size)| index * size + if *size == 1 { 0 } else { *digit })
        };
        (0..SPACE[0] * SPACE[1]).map(|place| numbers[at(place)]).collect()
    };
    eval_nodes(graph, inputs, 1).iter().map(|results| spread(&results[0])).collect()
}

/// Compares every value of an expression with its form.
fn compare(seed: u32, counts: &mut Counts) {
    let mut grower = Grower::new(seed);
    let steps = 3 + grower.dice.roll(10);
    (0..steps).for_each(|_| grower.step());
    let Grower { b, mut dice, values: made } = grower;
    let graph = b.finish([("y".to_string(), made[made.len() - 1])]);
    let is_bounded = dice.roll(4) == 0;
    dice.is_positive = is_bounded;
    let inputs = sample(&graph, &mut dice);
    let values = values(&graph, &inputs);
    if values.iter().flatten().any(|x| !x.is_finite()) {
        counts.nonfinite += 1;
        return;
    }
    let largest = values.iter().flatten().fold(0.0f64, |m, x| m.max(x.abs()));
    let mut reader = Reader::new();
    let mut known = Forms::default();
    let mut symbols = HashMap::new();
    for (place, value) in made.iter().take(graph.inputs().len()).enumerate() {
        let ty = graph.ty(*value);
        let symbol = if is_bounded { reader.between(ty, 0.05, 2.0) } else { reader.symbol(ty, false) };
        known.insert(*value, symbol);
        symbols.insert(place as u32 + 1, values[value.node.0 as usize].clone());
    }
    let root = graph.outputs()[0].1;
    reader.read(&graph, &mut known, root);
    assert!(reader.is_reliable());
    merges(seed, &graph, &known, &values, largest, counts);
    let form = known[&root];
    let space = [(1, SPACE[0]), (0, SPACE[1])].map(|(place, extent)| {
        (extent, reader.normalizer.known_axis(place, extent.into()).expect("inputs vary along it"))
    });
    let evaluated = evaluate(&reader, &space, &symbols, form, 0.0);
    let Some((found, scale)) = evaluated else {
        counts.nonfinite += 1;
        return;
    };
    let (scale, want) = (scale.max(largest), &values[root.node.0 as usize]);
    let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let error = difference(&found, want);
    if error > TOLERANCE * scale {
        let moves = |noise: f64| {
            let moved = evaluate(&reader, &space, &symbols, form, noise);
            moved.is_none_or(|(moved, _)| difference(&moved, &found) > 0.01 * error)
        };
        let explained = moves(NOISE) || moves(-NOISE) || almost_tied(&graph, &values, largest);
        assert!(explained, "seed {seed}: {want:?} became {found:?}, of {scale:e}\n{graph}\n{form:?}");
        counts.cancelled += 1;
    }
    counts.compared += 1;
}

/// True when something is compared with a number that only rounding tells from it.
fn almost_tied(graph: &Graph, values: &[Vec<f64>], largest: f64) -> bool {
    let of = |value: &Value| values[value.node.0 as usize].iter();
    graph.nodes().iter().any(|node| {
        let differences: Vec<f64> = match (&node.op, node.inputs.as_slice()) {
            (Op::Binary(op), [x, y]) if op.def().gives_bool => of(x).zip(of(y)).map(|(x, y)| x - y).collect(),
            (Op::Unary(Unary::Step | Unary::Sign), [x]) => of(x).copied().collect(),
            _ => return false,
        };
        differences.iter().any(|d| *d != 0.0 && d.abs() < 1e-12 * largest)
    })
}

/// The value of a form and the largest term of it; none where it is not finite.
fn evaluate(
    reader: &Reader,
    space: &[(usize, AxisMask)],
    symbols: &HashMap<u32, Vec<f64>>,
    form: Form,
    noise: f64,
) -> Option<(Vec<f64>, f64)> {
    let (space, symbols) = (space.to_vec(), symbols.clone());
    let mut evaluator = Evaluator { normalizer: &reader.normalizer, space, symbols, largest: 0.0, noise };
    let value = evaluator.form(form);
    (value.iter().all(|x| x.is_finite()) && evaluator.largest.is_finite())
        .then_some((value, evaluator.largest))
}

/// Values of one form are equal.
fn merges(seed: u32, graph: &Graph, known: &Forms, values: &[Vec<f64>], largest: f64, counts: &mut Counts) {
    let mut first: HashMap<Form, Value> = HashMap::new();
    for (id, node) in graph.iter().filter(|(_, node)| node.types[0].dtype.is_float()) {
        let value = Value { node: id, result: 0 };
        let Some(form) = known.get(&value) else { continue };
        let other = *first.entry(*form).or_insert(value);
        if other == value || matches!(node.op, Op::Const(..)) {
            continue;
        }
        counts.merged += 1;
        let (a, b) = (&values[other.node.0 as usize], &values[id.0 as usize]);
        let error = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(error <= TOLERANCE * largest, "seed {seed}: {other:?} is not {value:?}\n{graph}");
    }
}

/// Inputs of a random graph.
fn sample(graph: &Graph, dice: &mut Dice) -> Vec<Literal> {
    let input = |input: &evenkeel_ir::Input| {
        let sizes = input.ty.shape.at(1);
        let count = sizes.iter().product();
        Literal::floats(DType::F64, &sizes, (0..count).map(|_| dice.number()).collect())
    };
    graph.inputs().iter().map(input).collect()
}

/// Recognition of an expression with moves of axes keeps its value; false where that is not finite.
fn keeps(seed: u32) -> bool {
    let mut grower = Grower::new(seed);
    for _ in 0..4 + grower.dice.roll(8) {
        if grower.dice.roll(3) == 0 { grower.without_axis() } else { grower.step() }
    }
    let Grower { b, mut dice, values: made } = grower;
    let graph = b.finish([("y".to_string(), made[made.len() - 1])]);
    let inputs = sample(&graph, &mut dice);
    let before = eval_nodes(&graph, &inputs, 1);
    let all = || before.iter().flatten().flat_map(Literal::to_floats);
    let largest = all().fold(0.0f64, |m, x| m.max(x.abs()));
    if !all().all(f64::is_finite) || almost_tied(&graph, &values(&graph, &inputs), largest) {
        return false;
    }
    let recognized = recognize(&graph).expect("recognition succeeds").graph;
    let found = eval(&recognized, &inputs).expect("the inputs are the same")[0].to_floats();
    let want = before[graph.outputs()[0].1.node.0 as usize][0].to_floats();
    for (a, b) in want.iter().zip(&found) {
        assert!(
            (a - b).abs() <= TOLERANCE * largest,
            "seed {seed}: {want:?} became {found:?}\n{graph}\n{recognized}"
        );
    }
    true
}

#[test]
fn recognition_keeps_random_expressions() {
    let count = if std::env::var_os("EVENKEEL_LONG_TESTS").is_some() { 20_000 } else { 500 };
    let skipped = (0..count).filter(|&seed| !keeps(seed)).count();
    assert!(skipped * 20 < count as usize, "{skipped} of {count} skipped");
}

#[test]
fn forms_equal_what_they_are_read_from() {
    let count = if std::env::var_os("EVENKEEL_LONG_TESTS").is_some() { 100_000 } else { 3_000 };
    let mut counts = Counts::default();
    (0..count).for_each(|seed| compare(seed, &mut counts));
    assert!(counts.nonfinite * 50 < count as usize, "{counts:?}");
    assert!(counts.cancelled * 100 < count as usize, "{counts:?}");
    assert!(counts.merged * 20 > count as usize, "{counts:?}");
}
