//! Inputs that hurt, for `contract_fuzz`: a row per kind of grid.

use crate::generate::Dice;
use evenkeel_ir::{DType, Literal};

/// Rows of a sample.
pub(crate) const ROWS: u64 = 6;

/// A kind of inputs.
pub(crate) struct Grid {
    pub(crate) name: &'static str,
    /// Numbers that stand at a third of the places, among ordinary ones.
    special: &'static [f64],
    /// Numbers of which whole rows are made: constant, or with a spread of 1.
    rows: &'static [f64],
}

pub(crate) const GRIDS: &[Grid] = &[
    Grid { name: "ordinary", special: &[], rows: &[] },
    Grid { name: "zeros", special: &[0.0, -0.0, 1.0, -1.0], rows: &[0.0, 1.0] },
    Grid {
        name: "saturating",
        special: &[0.0, 20.0, -20.0, 88.0, -88.0, 110.0, -110.0],
        rows: &[20.0, -88.0],
    },
    Grid { name: "tiny", special: &[1e-20, -1e-20, 1e-40, -1e-40, 0.0], rows: &[1e-20, 1e-40] },
    Grid { name: "large", special: &[1e10, -1e10, 110.0, 1e-20], rows: &[1e10, 4096.0] },
    Grid { name: "huge", special: &[1e38, -1e38, 1e10, 0.0], rows: &[1e38, -3e38] },
    Grid {
        name: "not finite",
        special: &[f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0],
        rows: &[f64::INFINITY, f64::NAN],
    },
];

impl Grid {
    /// A tensor of f32 values.
    pub(crate) fn tensor(&self, dice: &mut Dice, sizes: &[usize]) -> Literal {
        let width = sizes.last().copied().unwrap_or(1);
        let count: usize = sizes.iter().product();
        let scale = dice.pick(&[1.0, 1.0, 0.01, 5.0, 12.0]);
        let mut data = Vec::with_capacity(count);
        while data.len() < count {
            let row = (!self.rows.is_empty() && dice.one_in(3)).then(|| dice.pick(self.rows));
            let spread = if dice.one_in(2) { 0.0 } else { 1.0 };
            for _ in 0..width {
                let ordinary = scale * normal(dice);
                data.push(match row {
                    Some(level) => level + spread * ordinary,
                    None if !self.special.is_empty() && dice.one_in(3) => dice.pick(self.special),
                    None => ordinary,
                });
            }
        }
        let rounded = data.into_iter().map(|x| f64::from(x as f32)).collect();
        Literal::floats(DType::F32, sizes, rounded)
    }
}

/// About a standard normal number.
fn normal(dice: &mut Dice) -> f64 {
    let mut uniform = || dice.below(1 << 20) as f64 / f64::from(1 << 20);
    (uniform() + uniform() + uniform() + uniform() - 2.0) * 3f64.sqrt()
}
