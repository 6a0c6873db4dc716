//! Random programs in the style of what users write, for `contract_fuzz`.
//!
//! A seed decides one. Every family of phrases is a row of [`FAMILIES`]; its phrases take operands
//! from what the program has so far, so that phrases nest and share. Start at [`program`].

use crate::generate::Dice;
use evenkeel_ir::{
    Attrs, Axes, Binary, Composite, DType, Extent, Graph, GraphBuilder, Reduce, Shape, TensorType, Unary,
    Value,
};

/// Phrases of one kind.
struct Family {
    name: &'static str,
    phrase: fn(&mut Draft) -> Value,
}

const FAMILIES: &[Family] = &[
    Family { name: "arithmetic", phrase: Draft::arithmetic },
    Family { name: "numbers", phrase: Draft::with_number },
    Family { name: "functions", phrase: Draft::function },
    Family { name: "spelled activations", phrase: Draft::activation },
    Family { name: "powers", phrase: Draft::power },
    Family { name: "logarithms", phrase: Draft::logarithm },
    Family { name: "guards", phrase: Draft::guard },
    Family { name: "clamps", phrase: Draft::clamp },
    Family { name: "statistics", phrase: Draft::statistic },
    Family { name: "norms", phrase: Draft::norm },
    Family { name: "softmaxes", phrase: Draft::softmax },
    Family { name: "losses", phrase: Draft::loss },
];

/// A program, and the families that it has phrases of.
pub(crate) struct Program {
    pub(crate) graph: Graph,
    pub(crate) families: Vec<&'static str>,
}

/// The program of a seed.
pub(crate) fn program(seed: u64) -> Program {
    let mut draft =
        Draft { dice: Dice { seed, count: 0 }, b: GraphBuilder::new(), values: Vec::new(), inputs: 0 };
    draft.declare();
    let mut families = Vec::new();
    for _ in 0..1 + draft.dice.below(5) {
        let family = &FAMILIES[draft.dice.below(FAMILIES.len())];
        let value = (family.phrase)(&mut draft);
        draft.values.push(value);
        families.push(family.name);
    }
    Program { graph: draft.finish(), families }
}

/// Numbers that stand in spellings.
const NUMBERS: &[f64] = &[0.5, 2.0, -1.0, 3.0, 0.1, 1e-5, 1e4, 6.0, 0.044715, 1.702, 0.333_333_34, -0.25];
/// What keeps a denominator or a root from zero.
pub(super) const EPS: &[f64] = &[1e-5, 1e-6, 1e-3, 1e-12, 0.1, 1.0];

const FUNCTIONS: &[Unary] = &[
    Unary::Neg,
    Unary::Abs,
    Unary::Square,
    Unary::Exp,
    Unary::Expm1,
    Unary::Tanh,
    Unary::Erf,
    Unary::Sigmoid,
    Unary::LogSigmoid,
    Unary::Softplus,
    Unary::Silu,
    Unary::Gelu,
    Unary::GeluTanh,
    Unary::QuickGelu,
    Unary::Mish,
    Unary::Relu,
    Unary::Relu6,
    Unary::Hardsigmoid,
    Unary::Hardswish,
    Unary::Elu,
    Unary::Selu,
];

pub(super) struct Draft {
    pub(super) dice: Dice,
    pub(super) b: GraphBuilder,
    pub(super) values: Vec<Value>,
    inputs: usize,
}

impl Draft {
    /// Two tensors of rows, a parameter per column, a number per row: some of them.
    fn declare(&mut self) {
        let columns = Extent::from(self.dice.pick(&[1, 2, 3, 4, 5, 8]));
        let shapes: [&[Extent]; 4] = [
            &[Extent::BATCH, columns],
            &[Extent::BATCH, columns],
            &[Extent::ONE, columns],
            &[Extent::BATCH, Extent::ONE],
        ];
        for (name, shape) in ["x", "y", "g", "r"].into_iter().zip(&shapes[..1 + self.dice.below(4)]) {
            let shape = Shape(shape.iter().copied().collect());
            let value = self.b.input(name, TensorType::new(DType::F32, shape));
            self.values.push(value);
        }
        self.inputs = self.values.len();
    }

    /// A value, more often a late one.
    pub(super) fn draw(&mut self) -> Value {
        let n = self.values.len();
        let (i, j) = (self.dice.below(n), self.dice.below(n));
        self.values[i.max(j)]
    }

    /// A value with rows and columns.
    pub(super) fn table(&mut self) -> Value {
        let (x, like) = (self.draw(), self.values[0]);
        let shape = self.b.ty(like).shape.clone();
        self.b.broadcast(x, &shape)
    }

    pub(super) fn number(&mut self, from: &[f64]) -> Value {
        let (like, number) = (self.values[0], self.dice.pick(from));
        self.b.number(like, number)
    }

    pub(super) fn exactly(&mut self, number: f64) -> Value {
        self.number(&[number])
    }

    pub(super) fn axes(&mut self) -> Axes {
        self.dice.pick(&[Axes::new([1]), Axes::new([1]), Axes::new([0]), Axes::new([0, 1])])
    }

    pub(super) fn mean(&mut self, x: Value, axes: Axes) -> Value {
        self.b.composite(Composite::Mean, &[x], Attrs::over(axes))
    }

    /// The values that nothing reads, three at most, are the outputs.
    fn finish(self) -> Graph {
        let users = self.b.graph().users();
        let last = *self.values.last().expect("it declared inputs");
        let own = self.values[self.inputs..].iter().copied();
        let mut outputs: Vec<Value> = own.filter(|v| users[v.node.0 as usize].is_empty()).collect();
        outputs.dedup();
        if outputs.is_empty() {
            outputs.push(last);
        }
        outputs.truncate(3);
        self.b.finish(outputs.iter().enumerate().map(|(i, &value)| (format!("y{i}"), value)))
    }
}

/// Phrases of numbers, powers and statistics; the others are in `phrases`.
impl Draft {
    fn arithmetic(&mut self) -> Value {
        let (x, y, z) = (self.draw(), self.draw(), self.draw());
        let op = self.dice.pick(&[Binary::Add, Binary::Sub, Binary::Mul, Binary::Mul, Binary::Div]);
        let first = self.b.binary(op, x, y);
        match self.dice.below(3) {
            0 => self.b.add(first, z),
            1 => self.b.mul(first, z),
            _ => first,
        }
    }

    fn with_number(&mut self) -> Value {
        let (x, number) = (self.draw(), self.number(NUMBERS));
        let op = self.dice.pick(&[Binary::Add, Binary::Sub, Binary::Mul, Binary::Div]);
        if self.dice.one_in(4) { self.b.binary(op, number, x) } else { self.b.binary(op, x, number) }
    }

    fn function(&mut self) -> Value {
        let (f, x) = (self.dice.pick(FUNCTIONS), self.draw());
        self.b.unary(f, x)
    }

    /// What roots, powers and logarithms are taken of; mostly not negative.
    fn base(&mut self) -> Value {
        let (x, eps) = (self.draw(), self.number(EPS));
        match self.dice.below(8) {
            0 => x,
            1 => self.b.square(x),
            2 => {
                let (x, axes) = (self.table(), self.axes());
                let square = self.b.square(x);
                self.mean(square, axes)
            }
            3 => self.b.max(x, eps),
            4 => self.b.abs(x),
            5 => {
                let square = self.b.mul(x, x);
                self.b.add(square, eps)
            }
            6 => self.b.exp(x),
            _ => {
                let (x, axes) = (self.table(), self.axes());
                self.mean(x, axes)
            }
        }
    }

    fn power_of(&mut self, base: Value) -> Value {
        let exponent = self.number(&[-2.0, -1.0, -0.5, 0.5, 1.5, 2.0, 3.0]);
        match self.dice.below(5) {
            0 => self.b.sqrt(base),
            1 => self.b.rsqrt(base),
            2 => self.b.recip(base),
            _ => self.b.pow(base, exponent),
        }
    }

    /// A power, often times something, often beside another power of the same base.
    fn power(&mut self) -> Value {
        let base = self.base();
        let first = self.power_of(base);
        if self.dice.one_in(2) {
            let second = self.power_of(base);
            self.values.push(second);
        }
        let y = self.draw();
        if self.dice.one_in(2) { self.b.mul(y, first) } else { first }
    }

    fn logarithm(&mut self) -> Value {
        let base = self.base();
        match self.dice.below(5) {
            0 => self.b.log1p(base),
            1 => {
                let inverse = self.b.recip(base);
                self.b.log(inverse)
            }
            2 => {
                let (half, l) = (self.exactly(0.5), self.b.log(base));
                self.b.mul(half, l)
            }
            3 => {
                let (half, l) = (self.exactly(-0.5), self.b.log(base));
                let scaled = self.b.mul(half, l);
                self.b.exp(scaled)
            }
            _ => self.b.log(base),
        }
    }

    fn statistic(&mut self) -> Value {
        let (x, axes) = (self.table(), self.axes());
        match self.dice.below(7) {
            0 => self.mean(x, axes),
            1 => self.b.sum(x, axes),
            2 => self.b.reduce(Reduce::Max, x, axes),
            3 => {
                let size = self.b.abs(x);
                self.mean(size, axes)
            }
            4 => {
                let (square, mean) = (self.b.square(x), self.mean(x, axes));
                let (moment, squared) = (self.mean(square, axes), self.b.square(mean));
                self.b.sub(moment, squared)
            }
            5 => {
                let mean = self.mean(x, axes);
                let centered = self.b.sub(x, mean);
                let square = self.b.square(centered);
                self.mean(square, axes)
            }
            _ => {
                let square = self.b.square(x);
                let total = self.b.sum(square, axes);
                self.b.sqrt(total)
            }
        }
    }
}
