//! Averages over runs that differ in their seed.

use serde::Serialize;

/// 97.5 % quantiles of Student's t for 1, 2, … degrees of freedom.
const QUANTILES: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// A number averaged over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OverSeeds {
    /// Mean over seeds.
    pub mean: f64,
    /// Standard deviation over seeds; none for one seed.
    pub deviation: Option<f64>,
    /// Half width of the 95 % interval of the mean by Student's t; none for one seed.
    pub ci95: Option<f64>,
    /// Number of seeds.
    pub seeds: usize,
}

impl OverSeeds {
    /// Averages at least one number, one a seed.
    pub fn of(values: &[f64]) -> OverSeeds {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        OverSeeds {
            mean,
            deviation,
            ci95: deviation.map(|deviation| quantile(values.len() - 1) * deviation / count.sqrt()),
            seeds: values.len(),
        }
    }
}

/// The 97.5 % quantile; above 30 degrees of freedom by its expansion around the normal quantile, right to three digits.
fn quantile(degrees: usize) -> f64 {
    let known = QUANTILES.get(degrees - 1).copied();
    known.unwrap_or(1.96 + (1.96_f64.powi(3) + 1.96) / (4.0 * degrees as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SciPy: `stats.t.ppf(0.975, 2) * a.std(ddof=1) / 3**0.5` with `a = np.array([87.78, 87.58, 86.34])` is 1.93784.
    #[test]
    fn three_seeds_have_the_interval_of_a_t_test() {
        let found = OverSeeds::of(&[87.78, 87.58, 86.34]);
        assert!((found.mean - 87.23333).abs() < 1e-5);
        assert!((found.ci95.unwrap() - 1.93784).abs() < 1e-3, "{found:?}");
        assert!(
            (found.deviation.unwrap() - 0.780085).abs() < 1e-4,
            "{found:?}"
        );
    }

    /// SciPy: `stats.t.ppf(0.975, 60)` is 2.000298.
    #[test]
    fn many_seeds_have_nearly_the_normal_quantile() {
        assert!((quantile(60) - 2.000298).abs() < 1e-3);
        assert!(quantile(31) < quantile(30));
    }

    #[test]
    fn one_seed_has_no_interval() {
        let found = OverSeeds::of(&[0.5]);
        assert_eq!((found.mean, found.ci95, found.seeds), (0.5, None, 1));
    }
}
