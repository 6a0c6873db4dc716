//! A seeded generator of random graphs for `random_graphs`.
//!
//! It proposes ops with operands drawn from what exists; a proposal that the type rules refuse is
//! dropped, so the type rules alone know which graphs are legal. Operands are moved into the
//! domain of the op and kept in a small range, so that most results are well conditioned.
//! Start at [`Generator::graph`].

use evenkeel_ir::op::{Attr, Class};
use evenkeel_ir::random::threefry;
use evenkeel_ir::{
    Attrs, Axes, Binary, Composite, DType, EpsKind, Extent, Graph, GraphBuilder, Op, Reduce, Shape,
    TensorType, Unary, Value,
};

/// Largest tensor of a sample, in elements.
const MAX_ELEMENTS: usize = 3000;

/// Decides one graph.
#[derive(Clone, Copy)]
pub(crate) struct Generator {
    pub(crate) seed: u64,
    /// How many ops it proposes.
    pub(crate) steps: usize,
    /// Batch size that the sample runs at.
    pub(crate) batch: u64,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Generator {
        let mut dice = Dice { seed, count: 1 << 20 };
        Generator { seed, steps: 5 + dice.below(21), batch: dice.pick(&[1, 2, 3, 5, 8, 33]) }
    }

    /// The graph with this element type; the structure is the same for every type.
    pub(crate) fn graph(&self, dtype: DType) -> Graph {
        let mut draft = Draft {
            dice: Dice { seed: self.seed, count: 0 },
            b: GraphBuilder::new(),
            batch: self.batch,
            dtype,
            values: Vec::new(),
        };
        draft.declare();
        for _ in 0..self.steps {
            draft.grow();
        }
        draft.finish()
    }
}

/// Numbers that a seed decides.
pub(crate) struct Dice {
    pub(crate) seed: u64,
    pub(crate) count: u32,
}

impl Dice {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.count += 1;
        let words = threefry([self.seed as u32, (self.seed >> 32) as u32 ^ 0x5eed], [self.count, 0]);
        words[0] as usize % n
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

struct Draft {
    dice: Dice,
    b: GraphBuilder,
    batch: u64,
    dtype: DType,
    values: Vec<Value>,
}

type Proposal = fn(&mut Draft) -> Option<Value>;

/// Kinds of steps; a kind that stands twice is drawn twice as often.
const PROPOSALS: &[Proposal] = &[
    Draft::unary,
    Draft::unary,
    Draft::unary,
    Draft::binary,
    Draft::binary,
    Draft::binary,
    Draft::select,
    Draft::reduce,
    Draft::reduce,
    Draft::composite,
    Draft::composite,
    Draft::product,
    Draft::stretch,
    Draft::reshape,
    Draft::transpose,
    Draft::slice,
    Draft::pad,
    Draft::concat,
    Draft::flip,
];

impl Draft {
    /// One to three inputs that broadcast with each other.
    fn declare(&mut self) {
        let (n, columns) = (Extent::BATCH, Extent::from(self.dice.pick(&[1, 3, 4, 7, 16, 21, 67])));
        let middle = Extent::from(self.dice.pick(&[2, 3, 5]));
        let shapes: [&[&[Extent]]; 4] = [
            &[&[n, columns], &[columns], &[n, Extent::ONE]],
            &[&[n, middle, columns], &[columns], &[n, middle, Extent::ONE]],
            &[&[middle, columns], &[columns], &[middle, columns]],
            &[&[n, columns], &[n, columns], &[Extent::ONE, columns]],
        ];
        let shapes = self.dice.pick(&shapes);
        let count = 1 + self.dice.below(shapes.len());
        for shape in &shapes[..count] {
            self.input(Shape(shape.iter().copied().collect()));
        }
    }

    fn input(&mut self, shape: Shape) -> Value {
        let name = format!("x{}", self.b.graph().inputs().len());
        let value = self.b.input(name, TensorType::new(self.dtype, shape));
        self.values.push(value);
        value
    }

    /// Adds one value, if the proposal is legal.
    fn grow(&mut self) {
        let proposal = self.dice.pick(PROPOSALS);
        if let Some(value) = proposal(self)
            && self.elements(value) <= MAX_ELEMENTS
        {
            self.values.push(value);
        }
    }

    fn elements(&self, value: Value) -> usize {
        self.b.ty(value).shape.at(self.batch).iter().product()
    }

    /// A value, more often a late one.
    fn draw(&mut self) -> Value {
        let n = self.values.len();
        let (i, j) = (self.dice.below(n), self.dice.below(n));
        self.values[i.max(j)]
    }

    fn axis(&mut self, x: Value) -> Option<usize> {
        let rank = self.b.ty(x).rank();
        (rank > 0).then(|| self.dice.below(rank))
    }

    fn known(&self, x: Value, axis: usize) -> Option<u64> {
        self.b.ty(x).shape[axis].known()
    }

    /// Moves `x` into an interval, always when that is narrow.
    fn into(&mut self, x: Value, (low, high): (f64, f64)) -> Value {
        let (low, high) = (low.max(-3.0), high.min(3.0));
        if low <= -3.0 && high >= 3.0 && !self.dice.one_in(3) {
            return x;
        }
        let unit = self.b.tanh(x);
        let (half, middle) = (self.b.number(x, (high - low) * 0.45), self.b.number(x, (high + low) * 0.5));
        let scaled = self.b.mul(unit, half);
        self.b.add(scaled, middle)
    }

    fn unary(&mut self) -> Option<Value> {
        let f = self.dice.pick(Unary::ALL);
        let x = self.draw();
        if f.def().class == Class::Bool {
            return None;
        }
        let mut x = self.into(x, f.def().domain);
        if matches!(f, Unary::Sign | Unary::Floor | Unary::Round) {
            x = self.b.stop_gradient(x);
        }
        self.b.apply(Op::Unary(f), &[x]).ok()
    }

    fn binary(&mut self) -> Option<Value> {
        let f = self.dice.pick(&[
            Binary::Add,
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::Mul,
            Binary::Div,
            Binary::Max,
            Binary::Min,
            Binary::Pow,
        ]);
        let (x, y) = (self.draw(), self.draw());
        let [dx, dy] = f.def().domain;
        let dy = if f == Binary::Div { (0.5, 3.0) } else { dy };
        let (x, y) = (self.into(x, dx), self.into(y, dy));
        self.b.apply(Op::Binary(f), &[x, y]).ok()
    }

    fn select(&mut self) -> Option<Value> {
        let f = self.dice.pick(&[Binary::Lt, Binary::Ge, Binary::Gt]);
        let (x, y, z, w) = (self.draw(), self.draw(), self.draw(), self.draw());
        let condition = self.b.apply(Op::Binary(f), &[x, y]).ok()?;
        self.b.apply(Op::Select, &[condition, z, w]).ok()
    }
}

impl Draft {
    fn reduce(&mut self) -> Option<Value> {
        let (f, x) = (self.dice.pick(Reduce::ALL), self.draw());
        let axes = self.axes(x)?;
        let value = self.b.reduce(f, x, axes);
        // Sums grow with their length; a mean keeps the range.
        let n = self.b.ty(x).shape.extent_of(&axes);
        let size = self.b.size(n, self.dtype);
        Some(if f == Reduce::Sum { self.b.div(value, size) } else { value })
    }

    fn axes(&mut self, x: Value) -> Option<Axes> {
        let rank = self.b.ty(x).rank();
        if self.dice.one_in(4) { Some(Axes::all(rank)) } else { self.axis(x).map(|axis| Axes::new([axis])) }
    }

    fn composite(&mut self) -> Option<Value> {
        let (f, x) = (self.dice.pick(Composite::ALL), self.draw());
        let def = f.def();
        let mut attrs = Attrs::over(self.axes(x)?);
        if f == Composite::ArgMax || !def.attrs.contains(&Attr::Axes) {
            return None;
        }
        if def.attrs.contains(&Attr::Eps) {
            attrs = attrs.eps(0.1, self.dice.pick(&[EpsKind::Inside, EpsKind::Outside, EpsKind::Clamp]));
        }
        let mut operands = vec![x];
        operands.extend(def.inputs[1..].iter().map(|_| self.draw()));
        self.b.apply(Op::Composite(f, attrs), &operands).ok()
    }

    /// A product with a weight of its own, or with a value that fits.
    fn product(&mut self) -> Option<Value> {
        let x = self.draw();
        let rank = self.b.ty(x).rank();
        let last = rank.checked_sub(1)?;
        let inner = self.b.ty(x).shape[last];
        let y = if self.dice.one_in(2) {
            inner.known()?;
            let columns = Extent::from(self.dice.pick(&[1, 2, 5, 8]));
            self.input(Shape([inner, columns].into_iter().collect()))
        } else {
            self.draw()
        };
        let op = Op::Dot { batch: 0, lhs: Axes::new([last]), rhs: Axes::new([0]) };
        let product = self.b.apply(op, &[x, y]).ok()?;
        let size = self.b.size(inner, self.dtype);
        (self.elements(product) <= MAX_ELEMENTS && self.b.ty(product).rank() <= 4)
            .then(|| self.b.div(product, size))
    }

    fn stretch(&mut self) -> Option<Value> {
        let (x, like) = (self.draw(), self.draw());
        let shape = self.b.ty(like).shape.clone();
        self.b.apply(Op::Broadcast(shape), &[x]).ok()
    }

    /// Joins two axes, or splits one.
    fn reshape(&mut self) -> Option<Value> {
        let x = self.draw();
        let axis = self.axis(x)?;
        let mut shape = self.b.ty(x).shape.clone();
        if axis > 0 && self.dice.one_in(2) {
            shape.0[axis - 1] = shape[axis - 1].times(shape[axis]);
            shape.0.remove(axis);
        } else {
            let factor = Extent::from(self.dice.pick(&[1, 2, 3, 7]));
            shape.0[axis] = shape[axis].divided_by(factor)?;
            shape.0.insert(axis + 1, factor);
        }
        if shape.rank() > 4 {
            return None;
        }
        self.b.apply(Op::Reshape(shape), &[x]).ok()
    }

    fn transpose(&mut self) -> Option<Value> {
        let x = self.draw();
        let (a, c) = (self.axis(x)?, self.axis(x)?);
        let mut order: Vec<u8> = (0..self.b.ty(x).rank() as u8).collect();
        order.swap(a, c);
        self.b.apply(Op::Transpose(order.into_iter().collect()), &[x]).ok()
    }

    fn slice(&mut self) -> Option<Value> {
        let x = self.draw();
        let axis = self.axis(x)?;
        let size = self.known(x, axis)?;
        let start = self.dice.below(size as usize) as u64;
        let stride = 1 + self.dice.below(2) as u64;
        let length = 1 + self.dice.below((size - start).div_ceil(stride) as usize) as u64;
        self.b.apply(Op::Slice { axis: axis as u8, start, length, stride }, &[x]).ok()
    }

    fn pad(&mut self) -> Option<Value> {
        let x = self.draw();
        let axis = self.axis(x)?;
        self.known(x, axis)?;
        let [low, high, interior] = [3, 3, 2].map(|n| self.dice.below(n) as u64);
        self.b.apply(Op::Pad { axis: axis as u8, low, high, interior }, &[x]).ok()
    }

    fn concat(&mut self) -> Option<Value> {
        let (x, y) = (self.draw(), self.draw());
        let axis = self.axis(x)?;
        self.known(x, axis)?;
        let y = if self.dice.one_in(2) { y } else { self.b.tanh(x) };
        self.b.apply(Op::Concat { axis: axis as u8 }, &[x, y]).ok()
    }

    fn flip(&mut self) -> Option<Value> {
        let x = self.draw();
        let axis = self.axis(x)?;
        self.b.apply(Op::Flip(Axes::new([axis])), &[x]).ok()
    }

    /// The last values that nothing reads are the outputs.
    fn finish(self) -> Graph {
        let users = self.b.graph().users();
        let unread = self.values.iter().rev().filter(|value| users[value.node.0 as usize].is_empty());
        let outputs: Vec<Value> = unread.take(3).copied().collect();
        self.b.finish(outputs.iter().enumerate().map(|(i, &value)| (format!("y{i}"), value)))
    }
}
