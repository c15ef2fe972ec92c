//! Which process of a run this is.

use std::fmt;

use crate::error::DistributedError;

/// Who started the processes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// `torchrun`, Kubeflow's PyTorchJob, Ray Train and what else sets `RANK` and `WORLD_SIZE`.
    Torchrun,
    /// `mpirun` of Open MPI.
    OpenMpi,
    /// `mpirun` or `mpiexec` of MPICH, Intel MPI and other libraries with PMI.
    Pmi,
    /// `srun`.
    Slurm,
    /// An indexed job of Kubernetes.
    Kubernetes,
}

impl Launcher {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Torchrun => "torchrun",
            Self::OpenMpi => "Open MPI",
            Self::Pmi => "PMI",
            Self::Slurm => "Slurm",
            Self::Kubernetes => "Kubernetes",
        }
    }
}

/// The names of a launcher's variables.
struct Variables {
    launcher: Launcher,
    rank: &'static str,
    world: &'static str,
    /// The local rank and the number of local processes, under each name that is in use.
    local_rank: &'static [&'static str],
    local_world: &'static [&'static str],
    remedy: &'static str,
}

/// In order of precedence: what a user sets for each process comes before what a batch system sets for all.
///
/// Slurm sets `SLURM_PROCID` and `SLURM_NTASKS` also for the script of a batch job, which is one process: only the steps that
/// `srun` starts have `SLURM_STEP_NUM_TASKS`.
const LAUNCHERS: [Variables; 5] = [
    Variables {
        launcher: Launcher::Torchrun,
        rank: "RANK",
        world: "WORLD_SIZE",
        local_rank: &["LOCAL_RANK"],
        local_world: &["LOCAL_WORLD_SIZE"],
        remedy: "set both, or neither",
    },
    Variables {
        launcher: Launcher::OpenMpi,
        rank: "OMPI_COMM_WORLD_RANK",
        world: "OMPI_COMM_WORLD_SIZE",
        local_rank: &["OMPI_COMM_WORLD_LOCAL_RANK"],
        local_world: &["OMPI_COMM_WORLD_LOCAL_SIZE"],
        remedy: "start the processes with `mpirun`",
    },
    Variables {
        launcher: Launcher::Slurm,
        rank: "SLURM_PROCID",
        world: "SLURM_STEP_NUM_TASKS",
        local_rank: &["SLURM_LOCALID"],
        local_world: &[],
        remedy: "start the processes with `srun`",
    },
    Variables {
        launcher: Launcher::Pmi,
        rank: "PMI_RANK",
        world: "PMI_SIZE",
        local_rank: &["MPI_LOCALRANKID", "PMI_LOCAL_RANK"],
        local_world: &["MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"],
        remedy: "start the processes with `mpiexec`",
    },
    Variables {
        launcher: Launcher::Kubernetes,
        rank: "JOB_COMPLETION_INDEX",
        world: "WORLD_SIZE",
        local_rank: &[],
        local_world: &[],
        remedy: "set it to the job's `completions`",
    },
];

/// The place of this process among those of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// The number of the process, in `0..world`.
    pub rank: usize,
    /// How many processes there are.
    pub world: usize,
    /// The number among those on this machine, from 0.
    pub local_rank: usize,
    /// How many there are on this machine, if the launcher says.
    pub local_world: Option<usize>,
    /// Who says so.
    pub launcher: Launcher,
}

impl Rank {
    /// The place that a launcher gave to this process; none if no launcher started it, or it is the only one.
    ///
    /// Read are `RANK`, `WORLD_SIZE`, `LOCAL_RANK` (torchrun), `OMPI_COMM_WORLD_*` (Open MPI), `SLURM_PROCID`,
    /// `SLURM_STEP_NUM_TASKS`, `SLURM_LOCALID` (srun), `PMI_RANK`, `PMI_SIZE`, `MPI_LOCALRANKID` (MPICH, Intel MPI), and
    /// `JOB_COMPLETION_INDEX` with `WORLD_SIZE` (Kubernetes).
    ///
    /// # Errors
    /// If only some of a launcher's variables are set, or one is no number, or the rank is not below the world size.
    pub fn from_environment() -> Result<Option<Self>, DistributedError> {
        Self::from(|name| std::env::var(name).ok())
    }

    fn from(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, DistributedError> {
        let Some(names) = LAUNCHERS.iter().find(|names| names.started(&variable)) else {
            return Ok(None);
        };
        let required = |name, present| names.required(&variable, name, present);
        let rank = required(names.rank, names.world)?;
        let world = required(names.world, names.rank)?;
        let launcher = names.launcher;
        if rank >= world {
            return Err(DistributedError::Range {
                launcher: launcher.name(),
                rank,
                world,
            });
        }
        let first = |all: &[&'static str]| -> Result<Option<usize>, DistributedError> {
            let set = all.iter().find(|name| variable(name).is_some());
            set.map(|name| required(name, names.rank)).transpose()
        };
        let place = Self {
            rank,
            world,
            local_rank: first(names.local_rank)?.unwrap_or(0),
            local_world: first(names.local_world)?,
            launcher,
        };
        Ok((world > 1).then_some(place))
    }

    /// Whether this is the process that writes logs and reports progress.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.world)
    }
}

impl Variables {
    /// Whether this launcher started the process. `RANK` alone is a name that other programs use too, and so is `WORLD_SIZE`, which
    /// Kubernetes' users set: each of them counts only where nothing else explains it.
    fn started(&self, variable: &impl Fn(&str) -> Option<String>) -> bool {
        let set = |name| variable(name).is_some();
        match self.launcher {
            Launcher::Torchrun => set(self.rank) && (set(self.world) || set("MASTER_ADDR")),
            Launcher::Slurm => set(self.world),
            _ => set(self.rank),
        }
    }

    fn required(
        &self,
        variable: &impl Fn(&str) -> Option<String>,
        name: &'static str,
        present: &'static str,
    ) -> Result<usize, DistributedError> {
        let problem = match variable(name) {
            None => "is missing".to_owned(),
            Some(text) => match text.trim().parse() {
                Ok(number) => return Ok(number),
                Err(_) => format!("is `{text}`, not a number"),
            },
        };
        Err(DistributedError::Variable {
            launcher: self.launcher.name(),
            present,
            variable: name,
            problem,
            remedy: self.remedy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(set: &[(&str, &str)]) -> Result<Option<Rank>, String> {
        let found = |name: &str| {
            let pair = set.iter().find(|(key, _)| *key == name);
            pair.map(|(_, value)| (*value).to_owned())
        };
        Rank::from(found).map_err(|error| error.to_string())
    }

    #[test]
    fn each_launcher_says_its_place() {
        let place = |rank, world, local_rank, local_world, launcher| Rank {
            rank,
            world,
            local_rank,
            local_world,
            launcher,
        };
        let torchrun = [
            ("RANK", "5"),
            ("WORLD_SIZE", "8"),
            ("LOCAL_RANK", "1"),
            ("LOCAL_WORLD_SIZE", "4"),
        ];
        let expected = place(5, 8, 1, Some(4), Launcher::Torchrun);
        assert_eq!(rank(&torchrun), Ok(Some(expected)));
        let open_mpi = [
            ("OMPI_COMM_WORLD_RANK", "1"),
            ("OMPI_COMM_WORLD_SIZE", "2"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
        ];
        let expected = place(1, 2, 1, Some(2), Launcher::OpenMpi);
        assert_eq!(rank(&open_mpi), Ok(Some(expected)));
        let pmi = [
            ("PMI_RANK", "3"),
            ("PMI_SIZE", "4"),
            ("MPI_LOCALRANKID", "1"),
        ];
        let expected = place(3, 4, 1, None, Launcher::Pmi);
        assert_eq!(rank(&pmi), Ok(Some(expected)));
        let kubernetes = [("JOB_COMPLETION_INDEX", "2"), ("WORLD_SIZE", "3")];
        let expected = place(2, 3, 0, None, Launcher::Kubernetes);
        assert_eq!(rank(&kubernetes), Ok(Some(expected)));
    }

    /// The script of a batch job is one process; its steps are many. `srun` may set PMI's variables too.
    #[test]
    fn slurm_counts_in_steps_only() {
        let batch = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")];
        assert_eq!(rank(&batch), Ok(None));
        let step = [
            ("SLURM_PROCID", "6"),
            ("SLURM_NTASKS", "8"),
            ("SLURM_STEP_NUM_TASKS", "7"),
            ("SLURM_LOCALID", "2"),
            ("PMI_RANK", "6"),
            ("PMI_SIZE", "7"),
        ];
        let found = rank(&step).unwrap().unwrap();
        assert_eq!((found.rank, found.world, found.local_rank), (6, 7, 2));
        assert_eq!(found.launcher, Launcher::Slurm);
    }

    #[test]
    fn one_process_is_no_rank() {
        assert_eq!(rank(&[]), Ok(None));
        assert_eq!(rank(&[("RANK", "0"), ("WORLD_SIZE", "1")]), Ok(None));
        // A variable that means something else to another program.
        assert_eq!(rank(&[("RANK", "gold")]), Ok(None));
        assert_eq!(rank(&[("WORLD_SIZE", "8")]), Ok(None));
    }

    #[test]
    fn mistakes_end_in_a_sentence() {
        let message = |set: &[(&str, &str)]| rank(set).unwrap_err();
        assert_eq!(
            message(&[("RANK", "0"), ("MASTER_ADDR", "a")]),
            "torchrun set RANK but WORLD_SIZE is missing: set both, or neither"
        );
        assert_eq!(
            message(&[("RANK", "x"), ("WORLD_SIZE", "2")]),
            "torchrun set WORLD_SIZE but RANK is `x`, not a number: set both, or neither"
        );
        assert_eq!(
            message(&[("JOB_COMPLETION_INDEX", "2")]),
            "Kubernetes set JOB_COMPLETION_INDEX but WORLD_SIZE is missing: set it to the job's `completions`"
        );
        assert_eq!(
            message(&[("PMI_RANK", "4"), ("PMI_SIZE", "4")]),
            "PMI says that this is rank 4 of 4: ranks count from 0 and end below the number of processes"
        );
    }
}
