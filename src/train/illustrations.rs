//! What TensorBoard shows of a training beside its curves.

use ndarray::ArrayView4;
use tch::Tensor;

use crate::base::device::elements;
use crate::draw::contact_sheet;
use crate::draw::kernels::kernel_picture;
use crate::episode::sampler::EpisodeSampler;
use crate::model::batch::EpisodeBatch;
use crate::model::parameters::ParameterLayout;
use crate::model::trained::Trained;
use crate::pack::shape::Element;
use crate::report::averages::Averages;
use crate::report::{Report, ReportError};
use crate::settings::cnn::BatchNormMode;
use crate::settings::experiment::Experiment;
use crate::settings::file::to_yaml;
use crate::train::metrics;

/// Shows the configuration, the table of hyperparameters and the first training episode.
pub(crate) fn show_start(
    report: &mut Report,
    experiment: &Experiment,
    sampler: &EpisodeSampler,
) -> Result<(), ReportError> {
    let yaml = format!("```yaml\n{}```\n", to_yaml(experiment));
    report.show(|board| board.text(metrics::CONFIGURATION, &yaml))?;
    report.show(|board| board.hyperparameters(&experiment.by_name(), &metrics::RESULTS))?;
    if sampler.pack().shape().element == Element::Byte {
        let rows = contact_sheet::episode_rows(sampler, 0);
        let (tag, description) = metrics::EPISODE;
        let sheet = contact_sheet::draw(&rows);
        report.show(|board| board.image(0, tag, description, &sheet))?;
    }
    Ok(())
}

/// Shows the kernels of the CNN that is written for the first episode of `sampler`; returns their norms.
pub(crate) fn show_kernels(
    report: &mut Report,
    step: u64,
    trained: &Trained,
    sampler: &EpisodeSampler,
    batch_norm: BatchNormMode,
) -> Result<Averages, ReportError> {
    let batch = EpisodeBatch::new(&[sampler.episode(0)], trained.device());
    let theta = tch::no_grad(|| trained.model.theta(&trained.views(), &batch, batch_norm));
    let mut averages = Averages::default();
    let (tag, description) = metrics::KERNELS;
    for (layer, (weights, _)) in (1..).zip(&theta.layers) {
        let kernel = elements(&weights.kernel);
        let norm = weights.kernel.norm().double_value(&[]);
        averages.measure_part(&metrics::KERNEL_NORM, layer, &norm);
        if let Ok(kernel) = ArrayView4::from_shape(last_four(&weights.kernel), &kernel) {
            let picture = kernel_picture(kernel);
            let tag = format!("{tag}{layer}");
            report.show(|board| board.image(step, &tag, description, &picture))?;
        }
    }
    Ok(averages)
}

/// The shape `[O, I, k, k]` of the kernel of a single task.
fn last_four(kernel: &Tensor) -> [usize; 4] {
    let mut shape = [1; 4];
    for (length, size) in shape.iter_mut().rev().zip(kernel.size().iter().rev()) {
        *length = *size as usize;
    }
    shape
}

/// Shows the distribution of the parameters of each group.
pub(crate) fn show_parameters(
    report: &mut Report,
    step: u64,
    layout: &ParameterLayout,
    phi: &Tensor,
) -> Result<(), ReportError> {
    for (group, range) in layout.groups() {
        let values = phi.narrow(0, range.start as i64, range.len() as i64);
        let tag = format!("{}{group}", metrics::PARAMETERS);
        report.show(|board| board.histogram(step, &tag, &elements(&values)))?;
    }
    Ok(())
}

/// The norm of each group's part of a gradient, `[φ]`.
pub(crate) fn group_norms(layout: &ParameterLayout, gradient: &Tensor) -> Averages {
    let mut averages = Averages::default();
    for (group, range) in layout.groups() {
        let part = gradient.narrow(0, range.start as i64, range.len() as i64);
        let norm = part.norm().double_value(&[]);
        averages.measure_part(&metrics::GROUP_GRADIENT, group, &norm);
    }
    averages
}
