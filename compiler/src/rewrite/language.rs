//! The e-graph's language: the IR's own ops over index-space values.
//!
//! Every value is a function on one index space, so stretching has no node, and the axes of a
//! statistic are a leaf that patterns can bind (`?axes`). What a class means is its [`Facts`]: the
//! normal form decides which classes are equal, egg's rules add what a ring cannot say. Start at
//! [`Term`]; [`Meaning`] is the analysis.

use super::constants::constant;
use super::normal::{AxisMask, Form};
use super::reader::{Forms, Reader};
use egg::{Analysis, DidMerge, EGraph, FromOp, Id, Language};
use evenkeel_ir::op::{Attrs, Binary, Composite, EpsKind, Real, Unary};
use evenkeel_ir::{Axes, DType, Extent, GraphBuilder, Op, Reduce, Shape, TensorType};
use rustc_hash::FxHashMap as HashMap;
use smallvec::SmallVec;
use std::fmt;

/// What an e-node does to its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Head {
    /// A function of one element.
    Unary(Unary),
    /// A function of two elements.
    Binary(Binary),
    /// `condition ? x : y`
    Select,
    /// A truth value as 0 or 1.
    Indicator,
    /// The identity without a derivative.
    StopGradient,
    /// A reduction; operands: axes, x.
    Reduce(Reduce),
    /// A named composite; operands: axes, then its own.
    Composite(Composite, Settings),
}

/// Attributes of a composite but its axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Settings {
    /// Stabilizer of a division.
    pub(crate) eps: Real,
    /// Where it enters.
    pub(crate) eps_kind: EpsKind,
    /// 0 or 1: the divisor of a variance is the count minus this.
    pub(crate) correction: u8,
}

impl Settings {
    /// What these attributes say beside the axes.
    pub(crate) fn of(attrs: &Attrs) -> Settings {
        Settings { eps: attrs.eps, eps_kind: attrs.eps_kind, correction: attrs.correction }
    }

    /// The attributes with these axes.
    pub(crate) fn over(self, axes: Axes) -> Attrs {
        Attrs { axes, eps: self.eps, eps_kind: self.eps_kind, correction: self.correction }
    }
}

/// An e-node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Term {
    /// An operand of the region.
    Leaf(u32),
    /// A constant.
    Number(Real),
    /// An extent as a number.
    Size(Extent),
    /// Axes of the index space.
    Axes(AxisMask),
    /// An op on its operands.
    Apply(Head, SmallVec<[Id; 4]>),
}

/// What e-nodes must share to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A leaf of any sort.
    Leaf,
    /// An op.
    Apply(Head),
}

impl Language for Term {
    type Discriminant = Kind;

    fn discriminant(&self) -> Kind {
        match self {
            Term::Apply(head, _) => Kind::Apply(*head),
            _ => Kind::Leaf,
        }
    }

    fn matches(&self, other: &Term) -> bool {
        match (self, other) {
            (Term::Apply(a, x), Term::Apply(b, y)) => a == b && x.len() == y.len(),
            _ => self == other,
        }
    }

    fn children(&self) -> &[Id] {
        match self {
            Term::Apply(_, operands) => operands,
            _ => &[],
        }
    }

    fn children_mut(&mut self) -> &mut [Id] {
        match self {
            Term::Apply(_, operands) => operands,
            _ => &mut [],
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Leaf(place) => write!(f, "x{place}"),
            Term::Number(number) => write!(f, "{number:?}"),
            Term::Size(extent) => write!(f, "size({extent})"),
            Term::Axes(mask) => write!(f, "@{mask:b}"),
            Term::Apply(head, _) => write!(f, "{head}"),
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Head::Indicator { "indicator" } else { self.op_name() })
    }
}

impl Head {
    /// What a graph calls the op.
    pub(crate) fn op_name(self) -> &'static str {
        match self {
            Head::Unary(op) => op.name(),
            Head::Binary(op) => op.name(),
            Head::Select => "select",
            Head::Indicator => "cast",
            Head::StopGradient => "stop_gradient",
            Head::Reduce(op) => op.name(),
            Head::Composite(op, _) => op.name(),
        }
    }

    /// The op with this name and number of operands, as patterns write it: a reduction is
    /// `reduce_sum`, `reduce_max`, ..., the axes come first.
    pub(crate) fn from_name(name: &str, operands: usize) -> Option<Head> {
        let plain = Settings { eps: Real::new(0.0), eps_kind: EpsKind::Inside, correction: 0 };
        match operands {
            1 => match name {
                "indicator" => Some(Head::Indicator),
                "stop_gradient" => Some(Head::StopGradient),
                _ => Unary::from_name(name).map(Head::Unary),
            },
            3 if name == "select" => Some(Head::Select),
            _ => {
                let composite = Composite::from_name(name).filter(|op| op.def().inputs.len() + 1 == operands);
                let binary = || Binary::from_name(name).filter(|_| operands == 2).map(Head::Binary);
                let reduction = name.strip_prefix("reduce_").and_then(Reduce::from_name);
                let reduce = || reduction.filter(|_| operands == 2).map(Head::Reduce);
                composite.map(|op| Head::Composite(op, plain)).or_else(binary).or_else(reduce)
            }
        }
    }
}

/// A name that is no op.
#[derive(Debug, thiserror::Error)]
#[error("{name} is no op of {operands} operands")]
pub(crate) struct UnknownOp {
    name: String,
    operands: usize,
}

impl FromOp for Term {
    type Error = UnknownOp;

    fn from_op(name: &str, operands: Vec<Id>) -> Result<Term, UnknownOp> {
        if operands.is_empty()
            && let Ok(number) = name.parse()
        {
            return Ok(Term::Number(Real::new(number)));
        }
        match Head::from_name(name, operands.len()) {
            Some(head) if !operands.is_empty() => Ok(Term::Apply(head, operands.into())),
            _ => Err(UnknownOp { name: name.to_string(), operands: operands.len() }),
        }
    }
}

/// What is known of a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Facts {
    /// Its normal form; none for axes.
    pub(crate) form: Option<Form>,
    /// A truth value.
    pub(crate) truth: bool,
    /// Never negative.
    pub(crate) nonnegative: bool,
    /// The axes it is.
    pub(crate) axes: Option<AxisMask>,
    /// The constant it is.
    pub(crate) number: Option<Real>,
}

const NOTHING: Facts = Facts { form: None, truth: false, nonnegative: false, axes: None, number: None };

/// The index space of a region, and what its values mean.
pub(crate) struct Meaning {
    /// Reads ops as normal forms.
    pub(crate) reader: Reader,
    /// Extents of the index space.
    pub(crate) space: Shape,
    /// The element type of numbers.
    pub(crate) dtype: DType,
    /// Forms and facts of the leaves.
    pub(crate) leaves: Vec<(Form, bool)>,
    /// The class of every form that was met, truth values apart.
    classes: HashMap<(Form, bool), Id>,
}

/// An e-graph of one region.
pub(crate) type Classes = EGraph<Term, Meaning>;

impl Meaning {
    /// A region without leaves.
    pub(crate) fn new(space: Shape, dtype: DType) -> Meaning {
        Meaning { reader: Reader::new(), space, dtype, leaves: Vec::new(), classes: HashMap::default() }
    }

    /// The mask of some axes of a value of this shape.
    pub(crate) fn mask(&mut self, shape: &Shape, axes: Axes) -> AxisMask {
        self.reader.mask(shape, axes)
    }

    /// Axes of the index space from a mask.
    pub(crate) fn axes(&self, mask: AxisMask) -> Axes {
        let rank = self.space.rank();
        Axes::new((0..rank).filter(|&axis| {
            let bit = self.reader.normalizer.known_axis(rank - 1 - axis, self.space[axis]);
            bit.is_some_and(|bit| bit & mask != 0)
        }))
    }

    /// The class of a number with this form.
    pub(crate) fn class_of(&self, form: Form) -> Option<Id> {
        self.classes.get(&(form, false)).copied()
    }

    /// The form of a composite of one operand over axes.
    pub(crate) fn statistic(
        &mut self,
        op: Composite,
        settings: Settings,
        axes: AxisMask,
        x: Form,
    ) -> Option<Form> {
        let operands = [Facts { axes: Some(axes), ..NOTHING }, Facts { form: Some(x), ..NOTHING }];
        self.composite(op, settings, &operands)
    }

    /// A type that spans the axes along which a form varies, and others that are asked for.
    fn nominal(&self, form: Form, also: AxisMask) -> TensorType {
        let mask = self.reader.normalizer.axes_of(form) | also;
        let axes = self.axes(mask);
        let extent = |axis: usize| if axes.contains(axis) { self.space[axis] } else { Extent::fixed(1) };
        TensorType::new(self.dtype, Shape((0..self.space.rank()).map(extent).collect()))
    }

    /// The form of an op on operands of which this is known.
    pub(crate) fn apply(&mut self, head: Head, operands: &[Facts]) -> Option<Form> {
        let (dtype, form) = (self.dtype, |place: usize| operands.get(place)?.form);
        Some(match head {
            Head::Unary(op) => self.reader.unary(op, dtype, form(0)?),
            Head::Binary(op) => self.reader.binary(op, form(0)?, form(1)?),
            Head::Select => self.reader.select(&[form(0)?, form(1)?, form(2)?]),
            Head::Indicator => form(0)?,
            Head::StopGradient => self.reader.normalizer.opaque(Op::StopGradient, vec![form(0)?]),
            Head::Reduce(op) => self.reader.reduce(op, operands[0].axes?, form(1)?),
            Head::Composite(op, settings) => self.composite(op, settings, operands)?,
        })
    }

    /// A composite, read through its definition over nominal types.
    fn composite(&mut self, op: Composite, settings: Settings, operands: &[Facts]) -> Option<Form> {
        let axes = operands[0].axes?;
        let forms: Option<Vec<Form>> = operands[1..].iter().map(|facts| facts.form).collect();
        let forms = forms?;
        let mut b = GraphBuilder::new();
        let inputs: Vec<_> = forms
            .iter()
            .enumerate()
            .map(|(place, form)| {
                b.input(format!("x{place}"), self.nominal(*form, if place == 0 { axes } else { 0 }))
            })
            .collect();
        let mut known: Forms = inputs.iter().copied().zip(forms).collect();
        let root = (op.def().decompose)(&mut b, &inputs, &settings.over(self.axes(axes)));
        Some(self.reader.read(&b.finish([]), &mut known, root))
    }
}

/// Composites whose results are never negative.
const NONNEGATIVE: [Composite; 5] =
    [Composite::Var, Composite::Rstd, Composite::Rrms, Composite::Rnorm, Composite::Softmax];

fn nonnegative(head: Head, operands: &[Facts]) -> bool {
    let all = || operands.iter().all(|facts| facts.nonnegative || facts.axes.is_some());
    let any = || operands.iter().any(|facts| facts.nonnegative);
    match head {
        Head::Unary(op) => op.def().range.0 >= 0.0,
        Head::Binary(Binary::Add | Binary::Mul | Binary::Div | Binary::Min) => all(),
        Head::Binary(Binary::Max) => any(),
        Head::Select => operands[1..].iter().all(|facts| facts.nonnegative),
        Head::Reduce(_) | Head::Composite(Composite::Mean, _) => all(),
        Head::Composite(op, _) => NONNEGATIVE.contains(&op),
        Head::Indicator => true,
        _ => false,
    }
}

fn truth(head: Head) -> bool {
    match head {
        Head::Binary(op) => op.def().gives_bool,
        Head::Unary(op) => op == Unary::Not,
        _ => false,
    }
}

impl Analysis<Term> for Meaning {
    type Data = Facts;

    fn make(egraph: &mut Classes, term: &Term, _: Id) -> Facts {
        let operands: SmallVec<[Facts; 4]> = term.children().iter().map(|id| egraph[*id].data).collect();
        let meaning = &mut egraph.analysis;
        match term {
            Term::Leaf(place) => {
                let (form, truth) = meaning.leaves[*place as usize];
                Facts { form: Some(form), truth, ..NOTHING }
            }
            Term::Number(number) => {
                let form = constant(&mut meaning.reader.normalizer, number.get(), meaning.dtype);
                let opaque =
                    |m: &mut Meaning| m.reader.normalizer.opaque(Op::Const(*number, m.dtype), vec![]);
                let form = Some(form.unwrap_or_else(|| opaque(meaning)));
                Facts { form, nonnegative: number.get() >= 0.0, number: Some(*number), ..NOTHING }
            }
            Term::Size(extent) => {
                Facts { form: Some(meaning.reader.normalizer.size(*extent)), nonnegative: true, ..NOTHING }
            }
            Term::Axes(mask) => Facts { axes: Some(*mask), ..NOTHING },
            Term::Apply(head, _) => {
                let form = meaning.apply(*head, &operands);
                let known = form.is_some_and(|form| meaning.reader.normalizer.is_nonnegative(form));
                let nonnegative = known || nonnegative(*head, &operands);
                Facts { form, truth: truth(*head), nonnegative, ..NOTHING }
            }
        }
    }

    fn merge(&mut self, known: &mut Facts, other: Facts) -> DidMerge {
        let before = *known;
        known.form = match (known.form, other.form) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        known.nonnegative |= other.nonnegative;
        known.number = known.number.or(other.number);
        DidMerge(*known != before, *known != other)
    }

    fn modify(egraph: &mut Classes, id: Id) {
        let Facts { form: Some(form), truth, .. } = egraph[id].data else { return };
        match egraph.analysis.classes.insert((form, truth), id) {
            Some(other) if egraph.find(other) != egraph.find(id) => {
                egraph.union(other, id);
            }
            _ => {}
        }
    }
}
