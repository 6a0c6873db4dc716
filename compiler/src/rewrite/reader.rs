//! Reads graphs as normal forms.
//!
//! Axes are identified by their place from the last axis and their extent, which is how the IR
//! aligns operands. Named rows and composites are read through their definitions; movement,
//! products, gathers, integers and everything else without algebra are symbols. A
//! `stop_gradient` is opaque, so equal forms have equal derivatives too. Start at
//! [`Reader::read`].

use super::constants::constant;
use super::normal::{AxisMask, Form, Normalizer, Number};
use evenkeel_ir::eval::decomposed;
use evenkeel_ir::op::{Binary, Composite, Unary};
use evenkeel_ir::{Axes, DType, Graph, GraphBuilder, Node, Op, Reduce, Shape, TensorType, Value};
use rustc_hash::FxHashMap as HashMap;

/// Forms of the values of one graph.
pub(crate) type Forms = HashMap<Value, Form>;

/// Turns values into forms of one normalizer.
#[derive(Default)]
pub(crate) struct Reader {
    /// Where the forms live.
    pub(crate) normalizer: Normalizer,
    symbols: u32,
    named: HashMap<(Op, Vec<Form>, TensorType), Form>,
    /// More distinct axes than a mask has bits: forms are meaningless.
    overflow: bool,
}

impl Reader {
    /// An empty reader.
    pub(crate) fn new() -> Reader {
        Reader::default()
    }

    /// False when the index space had too many axes; forms read so far must not be compared.
    pub(crate) fn is_reliable(&self) -> bool {
        !self.overflow
    }

    /// The form of a value; `known` holds forms read before and those of cut points.
    pub(crate) fn read(&mut self, graph: &Graph, known: &mut Forms, root: Value) -> Form {
        let mut stack = vec![root];
        while let Some(&value) = stack.last() {
            if known.contains_key(&value) {
                stack.pop();
                continue;
            }
            let node = graph.node(value.node);
            if !has_algebra(graph, node) {
                let symbol = self.symbol(graph.ty(value), false);
                known.insert(value, symbol);
                continue;
            }
            let missing: Vec<Value> =
                node.inputs.iter().copied().filter(|v| !known.contains_key(v)).collect();
            if missing.is_empty() {
                let operands: Vec<Form> = node.inputs.iter().map(|v| known[v]).collect();
                let form = self.node(graph, node, &operands);
                known.insert(value, form);
            }
            stack.extend(missing);
        }
        known[&root]
    }

    /// A fresh opaque value of this type.
    pub(crate) fn symbol(&mut self, ty: &TensorType, nonnegative: bool) -> Form {
        let axes = self.mask(&ty.shape, Axes::all(ty.rank()));
        self.symbols += 1;
        self.normalizer.symbol(self.symbols, axes, nonnegative)
    }

    /// A fresh opaque value of this type between two numbers.
    pub(crate) fn between(&mut self, ty: &TensorType, low: f64, high: f64) -> Form {
        let axes = self.mask(&ty.shape, Axes::all(ty.rank()));
        self.symbols += 1;
        self.normalizer.bounded_symbol(self.symbols, axes, low, high)
    }

    /// The axes of a shape as a mask of the index space.
    pub(crate) fn mask(&mut self, shape: &Shape, axes: Axes) -> AxisMask {
        let mut mask = 0;
        for axis in axes.iter() {
            match self.normalizer.axis(shape.rank() - 1 - axis, shape[axis]) {
                Some(bit) => mask |= bit,
                None => self.overflow = true,
            }
        }
        mask
    }

    fn node(&mut self, graph: &Graph, node: &Node, operands: &[Form]) -> Form {
        let n = &mut self.normalizer;
        match &node.op {
            Op::Const(number, dtype) => match constant(n, number.get(), *dtype) {
                Some(form) => form,
                None => n.opaque(node.op.clone(), Vec::new()),
            },
            Op::Size(extent, _) => n.size(*extent),
            Op::Unary(op) => self.unary(*op, node.types[0].dtype, operands[0]),
            Op::Binary(op) => self.binary(*op, operands[0], operands[1]),
            Op::Select => self.select(operands),
            Op::Cast(_) | Op::Reshape(_) | Op::Broadcast(_) => operands[0],
            Op::Reduce(op, axes) => {
                let mask = self.mask(&graph.ty(node.inputs[0]).shape, *axes);
                self.reduce(*op, mask, operands[0])
            }
            Op::Composite(..) => self.composite(graph, node, operands),
            op => self.normalizer.opaque(op.clone(), operands.to_vec()),
        }
    }

    /// A function of one element.
    pub(crate) fn unary(&mut self, op: Unary, dtype: DType, x: Form) -> Form {
        let n = &mut self.normalizer;
        let one = n.number(Number::ONE);
        match op {
            Unary::Neg => n.scale(x, Number::int(-1)),
            Unary::Abs => n.abs(x),
            Unary::Step => n.step(x),
            Unary::Sign => {
                let negative = n.scale(x, Number::int(-1));
                let (above, below) = (n.step(x), n.step(negative));
                n.subtract(above, below)
            }
            Unary::Square => n.pow(x, Number::int(2)),
            Unary::Sqrt => n.pow(x, Number::HALF),
            Unary::Rsqrt => n.pow(x, Number::ratio(-1, 2)),
            Unary::Recip => n.pow(x, Number::int(-1)),
            Unary::Exp | Unary::ExpNonpositive => n.exp(x),
            Unary::Expm1 => {
                let e = n.exp(x);
                n.subtract(e, one)
            }
            Unary::Log => n.log(x),
            Unary::Log1p => {
                let sum = n.add(one, x);
                n.log(sum)
            }
            Unary::Tanh => n.tanh(x),
            Unary::Erf | Unary::Sin => n.odd(op, x),
            _ => match op.def().definition {
                Some(definition) => self.definition(op, definition, dtype, x),
                None => n.opaque(Op::Unary(op), vec![x]),
            },
        }
    }

    /// A named row, read through its definition.
    fn definition(
        &mut self,
        op: Unary,
        definition: fn(&mut GraphBuilder, Value) -> Value,
        dtype: DType,
        x: Form,
    ) -> Form {
        let ty = TensorType::scalar(dtype);
        let key = (Op::Unary(op), vec![x], ty.clone());
        if let Some(&form) = self.named.get(&key) {
            return form;
        }
        let mut b = GraphBuilder::new();
        let input = b.input("x", ty);
        let root = definition(&mut b, input);
        let form = self.read(&b.finish([]), &mut HashMap::from_iter([(input, x)]), root);
        self.named.insert(key, form);
        form
    }

    /// A function of two elements.
    pub(crate) fn binary(&mut self, op: Binary, x: Form, y: Form) -> Form {
        let n = &mut self.normalizer;
        match op {
            Binary::Add => n.add(x, y),
            Binary::Sub => n.subtract(x, y),
            Binary::Mul => n.multiply(x, y),
            Binary::Div => {
                let inverse = n.pow(y, Number::int(-1));
                n.multiply(x, inverse)
            }
            Binary::LeakyRelu => {
                let zero = n.number(Number::ZERO);
                let (above, below) = (n.max(x, zero), n.min(x, zero));
                let below = n.multiply(below, y);
                n.add(above, below)
            }
            Binary::Max => n.max(x, y),
            Binary::Min => n.min(x, y),
            Binary::Gt => n.exceeds(x, y),
            Binary::Lt => n.exceeds(y, x),
            Binary::Ge | Binary::Le => {
                let below = if op == Binary::Ge { n.exceeds(y, x) } else { n.exceeds(x, y) };
                let one = n.number(Number::ONE);
                n.subtract(one, below)
            }
            Binary::Pow => match n.as_number(y) {
                Some(exponent @ Number::Exact(..)) => n.pow(x, exponent),
                _ => n.opaque(Op::Binary(op), vec![x, y]),
            },
            _ => n.opaque(Op::Binary(op), vec![x, y]),
        }
    }

    /// A reduction over axes of the index space.
    pub(crate) fn reduce(&mut self, op: Reduce, axes: AxisMask, x: Form) -> Form {
        match op {
            Reduce::Sum => self.normalizer.sum(axes, x),
            _ => self.normalizer.reduce(op, axes, x),
        }
    }

    /// `y + c (x - y)`, where the condition `c` is 0 or 1.
    pub(crate) fn select(&mut self, operands: &[Form]) -> Form {
        let n = &mut self.normalizer;
        let difference = n.subtract(operands[1], operands[2]);
        let chosen = n.multiply(operands[0], difference);
        n.add(operands[2], chosen)
    }

    fn composite(&mut self, graph: &Graph, node: &Node, operands: &[Form]) -> Form {
        let key = (node.op.clone(), operands.to_vec(), graph.ty(node.inputs[0]).clone());
        if let Some(&form) = self.named.get(&key) {
            return form;
        }
        let body = decomposed(graph, node);
        let mut known: Forms = body
            .iter()
            .filter_map(|(id, node)| match node.op {
                Op::Input(index) => Some((Value { node: id, result: 0 }, operands[index as usize])),
                _ => None,
            })
            .collect();
        let form = self.read(&body, &mut known, body.outputs()[0].1);
        self.named.insert(key, form);
        form
    }
}

/// True for nodes that are read; the results of others are symbols.
pub(crate) fn has_algebra(graph: &Graph, node: &Node) -> bool {
    let float = |dtype: DType| dtype.is_float();
    let operand = || graph.ty(node.inputs[0]);
    match &node.op {
        Op::Const(_, dtype) | Op::Size(_, dtype) => float(*dtype),
        Op::Unary(_) | Op::Reduce(..) => float(operand().dtype),
        Op::Binary(_) => float(operand().dtype),
        Op::Select | Op::StopGradient => float(node.types[0].dtype),
        Op::Cast(to) => float(*to) && operand().dtype == DType::Bool,
        Op::Reshape(shape) => same_but_leading_ones(shape, &operand().shape),
        Op::Broadcast(_) => true,
        Op::Composite(op, _) => *op != Composite::ArgMax,
        _ => false,
    }
}

/// True when two shapes differ in leading axes of size 1 only.
fn same_but_leading_ones(x: &Shape, y: &Shape) -> bool {
    let significant = |shape: &Shape| {
        let from = shape.0.iter().position(|extent| !extent.is_one()).unwrap_or(shape.rank());
        shape.0[from..].to_vec()
    };
    significant(x) == significant(y)
}
