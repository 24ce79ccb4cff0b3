//! Percentiles, medians and ranges.

/// The `share` (0 to 1) of `sorted` is not above what this gives.
pub fn percentile(sorted: &[u64], share: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    // the number of samples is far below where a float forgets integers
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(last)).copied().unwrap_or(0)
}

/// A figure over the repetitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// The least.
    pub min: f64,
    /// The one in the middle.
    pub median: f64,
    /// The most.
    pub max: f64,
    /// How many values there were: one alone says little.
    pub count: usize,
}

impl Figure {
    /// Of these values; nothing if there are none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(Self {
            min,
            median: f64::midpoint(*low, *high),
            max,
            count: values.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_ranks() {
        let sorted: Vec<u64> = (1..=1000).collect();
        assert_eq!(percentile(&sorted, 0.5), 500);
        assert_eq!(percentile(&sorted, 0.99), 990);
        assert_eq!(percentile(&sorted, 0.999), 999);
        assert_eq!(percentile(&[7], 0.999), 7);
        assert_eq!(percentile(&[], 0.5), 0);
    }

    #[test]
    fn a_figure_has_the_middle_and_the_ends() {
        assert_eq!(
            Figure::of(vec![3.0, 1.0, 2.0]),
            Some(Figure {
                min: 1.0,
                median: 2.0,
                max: 3.0,
                count: 3
            })
        );
        assert_eq!(Figure::of(vec![1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Figure::of(Vec::new()), None);
    }
}
