//! A map of the machines by their load.

use askama::Template;

use super::fleet::Machine;

/// How high the load of a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Less than a quarter.
    Low,
    /// Less than half.
    Medium,
    /// Less than three quarters.
    High,
    /// Less than all its processors can do.
    VeryHigh,
    /// As much as they can do, and more that waits.
    Overload,
    /// It sends no heartbeats, or does not know its load.
    Unknown,
}

impl Level {
    /// All of them, in the order of the legend.
    const ALL: [Self; 6] = [Self::Low, Self::Medium, Self::High, Self::VeryHigh, Self::Overload, Self::Unknown];

    /// Of a load per processor, 0 to 1 and more.
    fn of(load: f64) -> Self {
        match load {
            load if load < 0.25 => Self::Low,
            load if load < 0.5 => Self::Medium,
            load if load < 0.75 => Self::High,
            load if load < 1.0 => Self::VeryHigh,
            _ => Self::Overload,
        }
    }

    /// The class of its colour.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Low => "load-low",
            Self::Medium => "load-medium",
            Self::High => "load-high",
            Self::VeryHigh => "load-very-high",
            Self::Overload => "load-overload",
            Self::Unknown => "load-unknown",
        }
    }

    /// What it stands for in the legend.
    #[must_use]
    pub const fn range(self) -> &'static str {
        match self {
            Self::Low => "below 25 %",
            Self::Medium => "25 %",
            Self::High => "50 %",
            Self::VeryHigh => "75 %",
            Self::Overload => "100 % and more",
            Self::Unknown => "not known",
        }
    }
}

impl Machine {
    /// Its load on the map.
    #[must_use]
    pub fn level(&self) -> Level {
        self.load.map_or(Level::Unknown, Level::of)
    }

    /// Its load in percent, as short as a cell of the map needs it.
    #[must_use]
    pub fn load_text(&self) -> String {
        self.load.map_or_else(|| "–".to_owned(), |load| format!("{:.0}", load * 100.0))
    }

    /// The machine in words, for people who do not see the colour of its cell.
    #[must_use]
    pub fn in_words(&self) -> String {
        let used = self.use_of_it().unwrap_or_else(|| "load not known".to_owned());
        let Self { instances, max_containers, .. } = self;
        format!("{}: {}, {used}, {instances} of {max_containers} instances", self.title(), self.word())
    }
}

/// All machines as cells, coloured by their load.
#[derive(Debug, Template)]
#[template(path = "admin/parts/fleet_map.html")]
pub struct FleetMap {
    /// The machines; an error in words if they could not be read.
    pub machines: Result<Vec<Machine>, String>,
}

impl FleetMap {
    fn legend(&self) -> [Level; 6] {
        Level::ALL
    }
}

#[cfg(test)]
mod tests {
    use super::super::fleet::tests::machine;
    use super::*;

    #[test]
    fn fleet_map_has_a_cell_for_each_machine_with_its_load_in_words() {
        let (known, unknown) = (machine("connected", false, false), machine("lost", false, false));
        let machines = Ok(vec![known, Machine { id: "2".to_owned(), load: None, ..unknown }]);
        let html = FleetMap { machines }.render().unwrap();
        for expected in [
            r#"<a class="cell load-medium good" href="/admin/machines/1""#,
            r#"aria-label="lab-1: Connected, load 41 %, memory 30 %, 3 of 20 instances""#,
            r#"<a class="cell load-unknown bad" href="/admin/machines/2""#,
            "lab-1: Lost, load not known, 3 of 20 instances",
        ] {
            assert!(html.contains(expected), "{expected}: {html}");
        }
    }

    #[test]
    fn level_of_a_load_begins_with_its_number() {
        let levels = [0.0, 0.25, 0.5, 0.75, 1.0, 7.5].map(Level::of);
        let expected = [Level::Low, Level::Medium, Level::High, Level::VeryHigh, Level::Overload, Level::Overload];
        assert_eq!(levels, expected);
    }
}
