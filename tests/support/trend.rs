//! A straight line through what was looked at again and again.

/// `start` at 0, and `slope` more for each step of one.
#[derive(Debug, Clone, Copy)]
pub struct Trend {
    pub slope: f64,
    pub start: f64,
}

impl Trend {
    /// Least squares.
    pub fn through(points: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let count = f64_of(points.clone().count() as u64);
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / count;
        let x_mean = mean(&mut points.clone().map(|(x, _)| x));
        let y_mean = mean(&mut points.clone().map(|(_, y)| y));
        let spread: f64 = points.clone().map(|(x, _)| (x - x_mean).powi(2)).sum();
        let common: f64 = points.map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
        let slope = common / spread;
        Self {
            slope,
            start: y_mean - slope * x_mean,
        }
    }

    /// Where the line is.
    pub fn at(self, x: f64) -> f64 {
        self.start + self.slope * x
    }
}

/// Counts and bytes of one run are far below 2⁵².
#[expect(clippy::cast_precision_loss, reason = "as the first line says")]
pub fn f64_of(number: u64) -> f64 {
    number as f64
}
