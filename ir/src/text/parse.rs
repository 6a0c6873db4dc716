//! Reads the text form: graphs, statements, expressions. What an op needs is in `ops`.

use super::build::{Parts, build};
use super::error::{ParseError, nearest};
use super::lex::{Token, lex};
use super::limits::{MAX_DEPTH, MAX_NODES, limit};
use super::ops::{self, Head};
use super::{is_name, number_dtype, result_count};
use crate::dtype::DType;
use crate::error::{IrError, Place};
use crate::graph::{Graph, GraphBuilder, Provenance, Value};
use crate::op::{Op, Real, Subgraph};
use crate::shape::TensorType;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Reads a graph; `file` names the source in messages and in the provenance of nodes.
///
/// Numbers as operands take the element type of the other operands. Provenance holds the name
/// of the file for the life of the program, so every call leaks a copy of `file`.
///
/// # Errors
/// [`ParseError`] says where the source is wrong, and what was expected.
///
/// ```
/// let graph = evenkeel_ir::parse("x = input f32[N,64]\nreturn mean @-1 x", "mean.ek")?;
/// assert_eq!(graph.outputs()[0].0, "y");
/// # Ok::<(), evenkeel_ir::ParseError>(())
/// ```
pub fn parse(source: &str, file: &str) -> Result<Graph, ParseError> {
    let file: &'static str = Box::leak(file.to_string().into_boxed_str());
    let mut parser = Parser { tokens: lex(source, file)?, at: 0, graphs: HashMap::new() };
    while parser.skip_newline() == Token::Word("graph") {
        parser.named_graph()?;
    }
    let mut scope = Scope::default();
    let outputs = parser.body(&mut scope, Token::End)?;
    Ok(scope.builder.finish(outputs))
}

/// A graph that later graphs may call.
#[derive(Clone)]
pub(super) struct Named {
    /// The graph.
    pub(super) graph: Arc<Graph>,
    /// What it and all graphs it calls cost to compare.
    pub(super) weight: u64,
    /// How deep graphs call graphs.
    pub(super) depth: u64,
}

/// Names of one graph.
#[derive(Default)]
pub(super) struct Scope {
    pub(super) builder: GraphBuilder,
    names: HashMap<String, Value>,
    inputs: HashSet<String>,
    weight: u64,
    depth: u64,
}

impl Scope {
    fn define(&mut self, place: Place, name: &str, value: Value) -> Result<(), ParseError> {
        if self.names.insert(name.to_string(), value).is_some() {
            return Err(ParseError::DuplicateName { place, found: name.into() });
        }
        Ok(())
    }

    fn value(&self, place: Place, name: &str) -> Result<Value, ParseError> {
        let undefined = || {
            let nearest = nearest(name, self.names.keys().map(String::as_str));
            ParseError::UndefinedName { place, expected: "a value", found: name.into(), nearest }
        };
        self.names.get(name).copied().ok_or_else(undefined)
    }

    fn input(&mut self, place: Place, name: String, ty: TensorType) -> Result<Value, ParseError> {
        if !self.inputs.insert(name.clone()) {
            return Err(ParseError::DuplicateName { place, found: name });
        }
        self.builder.set_provenance(Provenance { place: Some(place), path: None });
        Ok(self.builder.input(name, ty))
    }

    /// Counts the graph of a call, which makes every comparison of this graph dearer.
    pub(super) fn count(&mut self, place: Place, callee: &Named) -> Result<(), ParseError> {
        self.weight = self.weight.saturating_add(callee.weight);
        self.depth = self.depth.max(callee.depth + 1);
        limit(place, "the nest of graphs", self.depth, MAX_DEPTH)?;
        limit(place, "the number of nodes with those of called graphs", self.weight, MAX_NODES)
    }
}

/// An operand: a value, or a number that waits for its element type.
enum Operand {
    Value(Value),
    Number(Place, Real, String),
}

pub(super) struct Parser<'s> {
    tokens: Vec<(Token<'s>, Place)>,
    at: usize,
    graphs: HashMap<String, Named>,
}

/// Tokens.
impl<'s> Parser<'s> {
    pub(super) fn peek(&self) -> &Token<'s> {
        self.ahead(0)
    }

    fn ahead(&self, count: usize) -> &Token<'s> {
        &self.tokens[(self.at + count).min(self.tokens.len() - 1)].0
    }

    pub(super) fn place(&self) -> Place {
        self.tokens[self.at].1
    }

    /// Takes a token; the last one stays.
    pub(super) fn next(&mut self) -> Token<'s> {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn skip_newline(&mut self) -> Token<'s> {
        while *self.peek() == Token::Newline {
            self.next();
        }
        self.peek().clone()
    }

    pub(super) fn wrong<T>(&self, expected: &str) -> Result<T, ParseError> {
        Err(ParseError::expected(self.place(), expected, self.peek().describe()))
    }

    fn takes(&mut self, mark: char) -> bool {
        let found = *self.peek() == Token::Mark(mark);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn mark(&mut self, mark: char) -> Result<(), ParseError> {
        if self.takes(mark) { Ok(()) } else { self.wrong(&format!("`{mark}`")) }
    }

    pub(super) fn word(&mut self, expected: &str) -> Result<&'s str, ParseError> {
        match *self.peek() {
            Token::Word(word) => {
                self.next();
                Ok(word)
            }
            _ => self.wrong(expected),
        }
    }

    fn end_of_line(&mut self) -> Result<(), ParseError> {
        match self.peek() {
            Token::Newline | Token::End | Token::Mark('}') => Ok(()),
            _ => self.wrong("an operand or the end of the line"),
        }
    }

    /// True where an attribute `key=value` stands.
    pub(super) fn at_key(&self) -> bool {
        matches!(self.peek(), Token::Word(_)) && *self.ahead(1) == Token::Mark('=')
    }
}

/// Graphs and statements.
impl<'s> Parser<'s> {
    /// `graph name(x: f32[N], ...) { statements }`
    fn named_graph(&mut self) -> Result<(), ParseError> {
        self.next();
        let place = self.place();
        let name = self.name("the name of a graph", is_name)?;
        if self.graphs.contains_key(name) {
            return Err(ParseError::DuplicateName { place, found: name.into() });
        }
        let mut scope = Scope::default();
        self.parameters(&mut scope)?;
        self.mark('{')?;
        let outputs = self.body(&mut scope, Token::Mark('}'))?;
        let weight = scope.weight + scope.builder.graph().nodes().len() as u64 + 1;
        let graph = Arc::new(scope.builder.finish(outputs));
        self.graphs.insert(name.to_string(), Named { graph, weight, depth: scope.depth });
        Ok(())
    }

    fn parameters(&mut self, scope: &mut Scope) -> Result<(), ParseError> {
        self.mark('(')?;
        while !self.takes(')') {
            let place = self.place();
            let name = self.name("the name of an input", is_name)?;
            self.mark(':')?;
            let ty = self.tensor_type()?;
            let value = scope.input(place, name.to_string(), ty)?;
            scope.define(place, name, value)?;
            if !self.takes(',') && *self.peek() != Token::Mark(')') {
                return self.wrong("`,` or `)`");
            }
        }
        Ok(())
    }

    /// Statements up to `return` and the end; gives the outputs.
    fn body(&mut self, scope: &mut Scope, end: Token<'_>) -> Result<Vec<(String, Value)>, ParseError> {
        loop {
            let found = self.skip_newline();
            let place = self.place();
            match found {
                Token::Word("return") => break,
                Token::End => {
                    return Err(ParseError::MissingReturn { place, found: "the end of the source" });
                }
                Token::Mark('}') => {
                    return Err(ParseError::MissingReturn { place, found: "the end of the graph" });
                }
                _ => self.statement(scope)?,
            }
        }
        self.next();
        let outputs = self.outputs(scope)?;
        if self.skip_newline() != end {
            return self.wrong(&end.describe());
        }
        self.next();
        Ok(outputs)
    }

    fn name(&mut self, expected: &str, fits: fn(&str) -> bool) -> Result<&'s str, ParseError> {
        match *self.peek() {
            Token::Word(word) if fits(word) => self.word(expected),
            _ => self.wrong(expected),
        }
    }

    /// `name, name = expression`, or an expression without results.
    fn statement(&mut self, scope: &mut Scope) -> Result<(), ParseError> {
        let mut names = Vec::new();
        let nameless = !matches!(self.ahead(1), Token::Mark('=' | ','));
        if !(nameless && matches!(self.peek(), Token::Word("call" | "custom_vjp"))) {
            loop {
                names.push((self.place(), self.name("the name of a value or `return`", is_value_name)?));
                if !self.takes(',') {
                    break;
                }
            }
            self.mark('=')?;
        }
        let place = self.place();
        if let ([(_, name)], Token::Word("input")) = (&names[..], self.peek()) {
            let value = self.input(scope, name)?;
            scope.define(names[0].0, name, value)?;
            return self.end_of_line();
        }
        let value = self.expression(scope, 0)?;
        let op = scope.builder.graph().op(value);
        let (op, results) = (op.name(), result_count(op));
        if results != names.len() {
            return Err(ParseError::Results { place, op, expected: results, found: names.len() });
        }
        for (result, (place, name)) in names.into_iter().enumerate() {
            scope.define(place, name, Value { node: value.node, result: result as u32 })?;
        }
        self.end_of_line()
    }

    /// `input f32[N]`, or `input name="any text" f32[N]`.
    fn input(&mut self, scope: &mut Scope, variable: &str) -> Result<Value, ParseError> {
        let place = self.place();
        self.next();
        let mut name = variable.to_string();
        if *self.peek() == Token::Word("name") && self.at_key() {
            self.next();
            self.next();
            match self.next() {
                Token::Text(text) => name = text,
                found => return Err(ParseError::expected(place, "a quoted name", found.describe())),
            }
        }
        let ty = self.tensor_type()?;
        scope.input(place, name, ty)
    }

    /// `return`, then outputs `name=value`, `"any text"=value`, `variable` or an expression.
    fn outputs(&mut self, scope: &mut Scope) -> Result<Vec<(String, Value)>, ParseError> {
        let mut outputs = Vec::new();
        while !matches!(self.peek(), Token::Newline | Token::End | Token::Mark('}')) {
            let place = self.place();
            let (name, value) = self.output(scope)?;
            let more = self.takes(',');
            let name = match name {
                Some(name) => name,
                None if outputs.is_empty() && !more => "y".to_string(),
                None => return Err(ParseError::expected(place, "`name=` before an output", "an expression")),
            };
            outputs.push((name, value));
            if !more {
                break;
            }
        }
        self.end_of_line()?;
        Ok(outputs)
    }

    fn output(&mut self, scope: &mut Scope) -> Result<(Option<String>, Value), ParseError> {
        let mut name = None;
        if *self.ahead(1) == Token::Mark('=') {
            name = match self.next() {
                Token::Word(word) => Some(word.to_string()),
                Token::Text(text) => Some(text),
                found => {
                    return Err(ParseError::expected(
                        self.place(),
                        "the name of an output",
                        found.describe(),
                    ));
                }
            };
            self.next();
        }
        if let (&Token::Word(word), true) = (self.peek(), self.ends_output(1)) {
            let value = scope.value(self.place(), word)?;
            self.next();
            return Ok((name.or_else(|| Some(word.to_string())), value));
        }
        if *self.peek() == Token::Mark('(') {
            return Ok((name, self.nested(scope, 0)?));
        }
        Ok((name, self.single(scope, 0)?))
    }

    fn ends_output(&self, ahead: usize) -> bool {
        matches!(self.ahead(ahead), Token::Newline | Token::End | Token::Mark(',' | '}'))
    }
}

/// Expressions.
impl<'s> Parser<'s> {
    /// `op attributes operands`: the first result of a node.
    fn expression(&mut self, scope: &mut Scope, depth: u64) -> Result<Value, ParseError> {
        let place = self.place();
        limit(place, "the depth of parentheses", depth, MAX_DEPTH)?;
        let name = self.word("an op")?;
        if name == "input" {
            return Err(ParseError::IllTyped { place, source: IrError::MisplacedInput });
        }
        let mut parts = self.parts()?;
        let head = Head::find(place, name, &parts)?;
        let positional = self.positional(&head, &mut parts, scope)?;
        let operands = self.operands(scope, depth)?;
        head.check_arity(place, operands.len())?;
        let scalar = TensorType::scalar(DType::F32);
        let types: Vec<TensorType> = operands
            .iter()
            .map(|operand| match operand {
                Operand::Value(value) => scope.builder.ty(*value).clone(),
                Operand::Number(..) => scalar.clone(),
            })
            .collect();
        let op = build(place, head, &mut parts, positional, &types)?;
        self.apply(scope, place, op, operands)
    }

    /// An expression with one result.
    fn single(&mut self, scope: &mut Scope, depth: u64) -> Result<Value, ParseError> {
        let place = self.place();
        let value = self.expression(scope, depth)?;
        let op = scope.builder.graph().op(value);
        match result_count(op) {
            1 => Ok(value),
            expected => Err(ParseError::Results { place, op: op.name(), expected, found: 1 }),
        }
    }

    fn nested(&mut self, scope: &mut Scope, depth: u64) -> Result<Value, ParseError> {
        self.mark('(')?;
        let value = self.single(scope, depth + 1)?;
        self.mark(')')?;
        Ok(value)
    }

    fn operands(&mut self, scope: &mut Scope, depth: u64) -> Result<Vec<Operand>, ParseError> {
        let mut operands = Vec::new();
        loop {
            let place = self.place();
            operands.push(match *self.peek() {
                Token::Mark('(') => Operand::Value(self.nested(scope, depth)?),
                Token::Word(word) if ops::is_number(word) => {
                    self.next();
                    Operand::Number(place, ops::number(place, word)?, word.to_string())
                }
                Token::Word(word) => {
                    let value = scope.value(place, word)?;
                    self.next();
                    Operand::Value(value)
                }
                _ => return Ok(operands),
            });
        }
    }

    /// Gives numbers their element type and builds the node.
    fn apply(
        &mut self,
        scope: &mut Scope,
        place: Place,
        op: Op,
        operands: Vec<Operand>,
    ) -> Result<Value, ParseError> {
        scope.builder.set_provenance(Provenance { place: Some(place), path: None });
        let dtype = |operand: &Operand| match operand {
            Operand::Value(value) => Some(scope.builder.ty(*value).dtype),
            Operand::Number(..) => None,
        };
        let known: Vec<Option<DType>> = operands.iter().map(dtype).collect();
        let mut inputs = Vec::with_capacity(operands.len());
        for (position, operand) in operands.into_iter().enumerate() {
            inputs.push(match operand {
                Operand::Value(value) => value,
                Operand::Number(place, number, text) => {
                    let dtype = number_dtype(&op, &known, position);
                    let dtype = dtype.ok_or(ParseError::UntypedNumber { place, found: text })?;
                    scope.builder.op(Op::Const(number, dtype), &[])
                }
            });
        }
        let value = scope.builder.apply(op, &inputs);
        value.map_err(|source| ParseError::ill_typed(place, source))
    }

    /// The graph with this name, counted as called by `scope`.
    pub(super) fn callee(&self, place: Place, name: &str, scope: &mut Scope) -> Result<Subgraph, ParseError> {
        let undefined = || {
            let nearest = nearest(name, self.graphs.keys().map(String::as_str));
            ParseError::UndefinedName { place, expected: "a graph", found: name.into(), nearest }
        };
        let named = self.graphs.get(name).ok_or_else(undefined)?;
        scope.count(place, named)?;
        Ok(Subgraph(named.graph.clone()))
    }

    /// Leading `@axes` and `key=value`.
    fn parts(&mut self) -> Result<Parts, ParseError> {
        let mut parts = Parts::default();
        loop {
            let place = self.place();
            if let Token::Axes(axes) = self.peek() {
                parts.axes.push_back((place, axes.clone()));
                self.next();
            } else if self.at_key() {
                let key = self.word("an attribute")?;
                self.mark('=')?;
                let value = self.word("the value of an attribute")?;
                parts.keys.push_back((place, key.to_string(), value.to_string()));
            } else {
                return Ok(parts);
            }
        }
    }
}

/// What the left side of a definition may be.
fn is_value_name(word: &str) -> bool {
    is_name(word) || word.strip_prefix('%').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}
