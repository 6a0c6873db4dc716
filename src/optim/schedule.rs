//! Learning rates over time, as factors of the optimizer's learning rate.

/// The factor that multiplies the learning rate at each step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Schedule {
    /// Always 1.
    #[default]
    Constant,
    /// A straight rise to 1 over `warm_up` steps, then half a cosine down to `floor` at step
    /// `steps`, where it stays.
    Cosine {
        /// Steps until the full height.
        warm_up: u64,
        /// Steps until the floor, warm-up included.
        steps: u64,
        /// The last factor.
        floor: f64,
    },
}

impl Schedule {
    /// The full learning rate at every step.
    pub fn constant() -> Schedule {
        Schedule::Constant
    }

    /// A warm-up of `warm_up` steps followed by half a cosine that ends at 0 after `steps` steps.
    pub fn cosine(warm_up: u64, steps: u64) -> Schedule {
        Schedule::Cosine { warm_up, steps, floor: 0.0 }
    }

    /// The factor at step `step`, counted from 0.
    ///
    /// `(step + 1) / (warm_up + 1)` while `step < warm_up`, then
    /// `floor + (1 - floor) (1 + cos(pi t)) / 2` with `t = (step - warm_up) / (steps - warm_up)`.
    pub fn factor(&self, step: u64) -> f64 {
        match *self {
            Schedule::Constant => 1.0,
            Schedule::Cosine { warm_up, .. } if step < warm_up => (step + 1) as f64 / (warm_up + 1) as f64,
            Schedule::Cosine { steps, floor, .. } if step >= steps => floor,
            Schedule::Cosine { warm_up, steps, floor } => {
                let t = (step - warm_up) as f64 / (steps - warm_up) as f64;
                floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_rises_then_falls_to_its_floor() {
        let schedule = Schedule::Cosine { warm_up: 4, steps: 12, floor: 0.1 };
        let factors: Vec<f64> = [0, 3, 4, 8, 12, 100].map(|step| schedule.factor(step)).to_vec();
        let expected = [0.2, 0.8, 1.0, 0.55, 0.1, 0.1];
        assert!(factors.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{factors:?}");
    }

    #[test]
    fn constant_stays_one() {
        assert_eq!([0, 7, u64::MAX].map(|step| Schedule::constant().factor(step)), [1.0; 3]);
    }
}
