//! Which traces are exported: `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.

use opentelemetry_sdk::trace::Sampler;

/// The sampler of a name and an argument. By default, a trace that begins here is exported, and one that is continued is
/// exported if the sender exports it.
///
/// # Errors
/// One sentence about an invalid value.
pub fn sampler(name: Option<&str>, argument: Option<&str>) -> Result<Sampler, String> {
    let ratio = || match argument.map_or(Ok(1.0), str::parse::<f64>) {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(Sampler::TraceIdRatioBased(ratio)),
        _ => {
            Err(format!("OTEL_TRACES_SAMPLER_ARG={:?}: it must be a number from 0 to 1", argument.unwrap_or_default()))
        }
    };
    let by_parent = |root| Sampler::ParentBased(Box::new(root));
    match name {
        None | Some("parentbased_always_on") => Ok(by_parent(Sampler::AlwaysOn)),
        Some("always_on") => Ok(Sampler::AlwaysOn),
        Some("always_off") => Ok(Sampler::AlwaysOff),
        Some("traceidratio") => ratio(),
        Some("parentbased_always_off") => Ok(by_parent(Sampler::AlwaysOff)),
        Some("parentbased_traceidratio") => Ok(by_parent(ratio()?)),
        Some(other) => Err(format!(
            "OTEL_TRACES_SAMPLER={other:?}: it must be one of: always_on, always_off, traceidratio, \
             parentbased_always_on, parentbased_always_off, parentbased_traceidratio"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampler_of_each_name_is_known_and_others_are_refused() {
        let described = |name, argument| sampler(name, argument).map(|sampler| format!("{sampler:?}"));
        assert_eq!(described(None, None).unwrap(), "ParentBased(AlwaysOn)");
        assert_eq!(described(Some("always_off"), None).unwrap(), "AlwaysOff");
        assert_eq!(described(Some("traceidratio"), None).unwrap(), "TraceIdRatioBased(1.0)");
        let parent_based = described(Some("parentbased_traceidratio"), Some("0.25")).unwrap();
        assert_eq!(parent_based, "ParentBased(TraceIdRatioBased(0.25))");
        for ratio in ["", "2", "-0.1", "NaN", "often"] {
            let problem = sampler(Some("traceidratio"), Some(ratio)).unwrap_err();
            assert!(problem.starts_with(&format!("OTEL_TRACES_SAMPLER_ARG={ratio:?}: ")), "{problem}");
        }
        let problem = sampler(Some("jaeger_remote"), None).unwrap_err();
        assert!(problem.starts_with("OTEL_TRACES_SAMPLER=\"jaeger_remote\": "), "{problem}");
    }
}
