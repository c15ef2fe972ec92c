//! Prompts shared between processes and between devices: the files are those of one process on one device.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use crate::{Place, pipeline, rows, says, stderr, tiny};

const PROMPTS: &str = "a red house\na blue tree\na cat\na red cat and a house\na tree\n";

/// A process of a run, as torchrun starts it.
fn process(place: &Place, line: &str, rank: usize, of: usize) -> Command {
    let mut command = place.command(line);
    command.env("RANK", rank.to_string());
    command.env("WORLD_SIZE", of.to_string());
    command
}

/// All processes of a run at the same time; `{rank}` in the line is the number of each.
fn processes(place: &Place, line: &str, of: usize) -> Vec<Output> {
    let start = |rank: usize| {
        let line = line.replace("{rank}", &rank.to_string());
        let mut command = process(place, &line, rank, of);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let started: Vec<Child> = (0..of).map(start).collect();
    let ended = started.into_iter().map(|child| child.wait_with_output());
    ended.map(Result::unwrap).collect()
}

fn all_good(outputs: &[Output]) {
    for output in outputs {
        assert!(output.status.success(), "{}", stderr(output));
    }
}

/// The files of a folder with their bytes.
fn bytes(place: &Place, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let files = place.files(folder).into_iter();
    files
        .map(|name| {
            let bytes = place.read(&format!("{folder}/{name}"));
            (name, bytes)
        })
        .collect()
}

/// Runs a line, whose output goes to the folder `{out}`, in one process and in several: each file is made by one of them, and
/// is that of the one process.
fn shared_out(place: &Place, line: &str, name: &str, counts: &[usize]) {
    let to = |folder: &str| line.replace("{out}", folder);
    place.make_dir("one");
    place.good(&to("one"));
    let whole = bytes(place, "one");
    assert!(whole.len() > 3, "{:?}", whole.keys());
    for &of in counts {
        for rank in 0..of {
            place.make_dir(&format!("{name}-{of}-{rank}"));
        }
        let folder = format!("{name}-{of}-{{rank}}");
        all_good(&processes(place, &to(&folder), of));
        let mut union = BTreeMap::new();
        for rank in 0..of {
            let own = bytes(place, &format!("{name}-{of}-{rank}"));
            assert_eq!(own.len(), (whole.len() + of - 1 - rank) / of, "{rank} {of}");
            for (file, bytes) in own {
                assert!(union.insert(file, bytes).is_none(), "made twice");
            }
        }
        assert!(union == whole, "{of} processes: {:?}", union.keys());
    }
}

#[test]
fn prompts_of_several_processes_are_those_of_one() {
    let place = Place::new();
    place.write("prompts", PROMPTS);
    let line = "generate -m @tiny --prompt-file prompts -s 7 --batch-size 2 -o {out}/";
    shared_out(&place, line, "p", &[2, 3, 7]);
}

#[test]
fn classes_and_counts_of_several_processes_are_those_of_one() {
    let place = Place::new();
    let line =
        "generate -m @classes --class tree --class cat -b 3 -s 1 -o {out}/{prompt}-{index}.png";
    shared_out(&place, line, "c", &[2, 4]);
}

#[test]
fn edits_of_several_processes_are_those_of_one() {
    let place = Place::new();
    place.good("generate -m @tiny -p 'a cat' -s 1 -o a.png");
    let line =
        "edit -m @tiny -i a.png --box 0,0,8,16 -p 'a tree' -p 'a cat' -b 2 -s 3 -o {out}/x.png";
    shared_out(&place, line, "e", &[3]);
}

#[test]
fn variations_of_several_processes_are_those_of_one() {
    let place = Place::new();
    place.good("generate -m @tiny -p 'a cat' -s 1 -o a.png");
    let line = "generate --variation-of a.png -m @tiny -b 5 -s 3 -o {out}/";
    shared_out(&place, line, "v", &[2]);
}

#[test]
fn a_yaml_pipeline_and_its_seeds_are_shared_too() {
    let place = Place::new();
    let list = "prompts: [a red house, a cat, a tree, a blue cat]\n    seeds: [4, 4, 9, 4]";
    let yaml = pipeline(tiny::model()).replace("prompts: [a red house]", list);
    place.write("p.yaml", &yaml);
    let set = "--set seed=1";
    shared_out(&place, &format!("run p.yaml {set} -o {{out}}/"), "y", &[3]);
    // Three results have the seed 4, and their name would be the same.
    let parts = ["has a seed for several results", "{index}"];
    place.refuses(&format!("run p.yaml {set} --set device=cpu,cpu"), &parts);
    let line = format!("run p.yaml {set}");
    for output in processes(&place, &line, 2) {
        says(&stderr(&output), &parts);
    }
    place.good(&format!("run p.yaml {set}"));
}

#[test]
fn videos_of_several_processes_are_those_of_one() {
    let place = Place::new();
    let line = "video -m @video -p 'a cat' -p 'a house' -b 2 -s 7 -o {out}/x.gif";
    shared_out(&place, line, "g", &[3]);
    // Folders of frames, which all begin to write at about the same time.
    all_good(&processes(
        &place,
        &line.replace("{out}/x.gif", "frames/"),
        2,
    ));
    assert_eq!(place.files("frames").len(), 4);
    let again = processes(&place, &line.replace("{out}/x.gif", "frames/"), 2);
    for output in again {
        says(&stderr(&output), &["is not empty"]);
    }
}

#[test]
fn processes_without_work_end_well() {
    let place = Place::new();
    let line = "generate -m @tiny -p 'a (red:1.2) house' -p 'a cat' -s 1 --timings -o x.png";
    let outputs = processes(&place, line, 4);
    all_good(&outputs);
    assert_eq!(place.files("."), ["x-00000.png", "x-00001.png"]);
    let said: Vec<String> = outputs.iter().map(stderr).collect();
    says(&said[0], &["2 of 4 processes have nothing to generate"]);
    says(&said[0], &["has no effect of its own", "wall"]);
    // What concerns the whole run is said once, a file by the process that has made it.
    assert_eq!(said[1].trim(), "x-00001.png");
    assert_eq!((said[2].as_str(), said[3].as_str()), ("", ""));
}

#[test]
fn a_warning_about_a_sample_is_that_of_its_process() {
    let place = Place::new();
    place.make_dir("out");
    let outputs = processes(
        &place,
        "generate -p 'red apple' -p 'red wombat' -s 1 -o out/",
        2,
    );
    all_good(&outputs);
    assert!(!stderr(&outputs[0]).contains("wombat"));
    says(
        &stderr(&outputs[1]),
        &["rank 1: warning: this model does not know the word `wombat`"],
    );
}

#[test]
fn files_that_are_there_are_those_of_before_the_run() {
    let place = Place::new();
    let line = "generate -m @tiny -p 'a cat' -s 1 --no-clobber -o x.png";
    let one = |rank| process(&place, line, rank, 2).output().unwrap();
    all_good(&[one(0), one(1)]);
    let again = one(0);
    assert_eq!(again.status.code(), Some(1));
    says(&stderr(&again), &["`x.png` exists already"]);
    let line = line.replace("-p 'a cat'", "-p 'a cat' -p 'a tree'");
    all_good(&processes(&place, &line.replace("x.png", "y.png"), 2));
    let again = process(&place, &line.replace("x.png", "y.png"), 1, 2).output();
    says(
        &stderr(&again.unwrap()),
        &["rank 1: error: ", "exists already"],
    );
}

#[test]
fn several_devices_make_the_files_of_one() {
    let place = Place::new();
    place.write(
        "prompts",
        "red apple\na cat\nblue car and a tree\nsun\na dog\n",
    );
    let line = "generate --prompt-file prompts -b 2 -s 7";
    for (folder, more) in [
        ("one", "--device cpu"),
        ("two", "--device cpu,cpu"),
        ("three", "--device cpu,cpu,cpu --batch-size 2"),
    ] {
        place.make_dir(folder);
        place.good(&format!("{line} {more} -o {folder}/"));
    }
    let one = bytes(&place, "one");
    assert_eq!(one.len(), 10);
    assert!(one == bytes(&place, "two") && one == bytes(&place, "three"));
    // Two processes with two devices each.
    place.make_dir("both");
    let line = format!("{line} --device cpu,cpu -o both/");
    all_good(&processes(&place, &line, 2));
    assert!(one == bytes(&place, "both"));
    let shown = place.stdout("metadata two/00003-10.png");
    says(&shown, &["device: cpu\n"]);
}

#[test]
fn several_devices_share_standard_input_and_a_list_of_yaml() {
    let place = Place::new();
    let yaml = pipeline(tiny::model()).replace("    prompts: [a red house]\n", "");
    place.write("p.yaml", &format!("device: [cpu, cpu]\n{yaml}"));
    place.write("q.yaml", &format!("device: cpu\n{yaml}"));
    for (file, folder) in [("p.yaml", "several"), ("q.yaml", "one")] {
        place.make_dir(folder);
        let mut command = place.command(&format!("run {file} --set seed=2 -o {folder}/"));
        let command = command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(PROMPTS.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let one = bytes(&place, "one");
    assert_eq!(one.len(), 5);
    assert!(one == bytes(&place, "several"));
}

#[test]
fn one_device_of_a_list_that_is_wrong_stops_all() {
    let place = Place::new();
    place.refuses_each(
        "generate -m @tiny -p x -s 1 -o x.png",
        "--device cpu,cuda:99 => cuda:99 | hint:",
    );
    let output = place.run("generate -m @tiny -p x -o x.png --device cpu,wat");
    assert_eq!(output.status.code(), Some(2));
    says(&stderr(&output), &["there is no device `wat`"]);
    for line in ["serve", "train transformer c.yaml", "bench"] {
        let output = place.run(&format!("{line} --device cpu,cpu"));
        assert_eq!(output.status.code(), Some(2), "{line}");
        says(
            &stderr(&output),
            &["is a list of devices, and one is needed here"],
        );
    }
}

#[test]
fn mistakes_of_a_launch_end_in_a_sentence() {
    let place = Place::new();
    place.write("prompts", PROMPTS);
    let table = "
        RANK=0 MASTER_ADDR=a                        ; -p x -s 1 -o x.png => RANK but WORLD_SIZE is missing
        RANK=2 WORLD_SIZE=2                         ; -p x -s 1 -o x.png => rank 2 of 2
        RANK=x WORLD_SIZE=2                         ; -p x -s 1 -o x.png => RANK is `x`, not a number
        JOB_COMPLETION_INDEX=1                      ; -p x -s 1 -o x.png => set it to the job's `completions`
        RANK=1 WORLD_SIZE=2                         ; -p x -o x.png      => rank 1: error: | 2 processes | one seed | --seed
        OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2 ; -p x -s -1 -o x.png => 2 processes | one seed
        RANK=1 WORLD_SIZE=2                         ; -s 1 -o x.png      => rank 1: error: | standard input | --prompt-file
        RANK=0 WORLD_SIZE=2                         ; --prompt-file - -s 1 -o x.png => standard input | --prompt-file
        RANK=0 WORLD_SIZE=2                         ; --prompt-file /dev/null -s 1 -o x.png => or a pipe | --prompt-file
        RANK=0 WORLD_SIZE=2                         ; -p x -s 1 -o -     => 2 processes cannot write to `-` together
        RANK=1 WORLD_SIZE=2                         ; -p x -s 1 -o /dev/null => rank 1: error: | cannot write to `/dev/null` together
        RANK=1 WORLD_SIZE=2                         ; --prompt-file none -s 1 -o x.png => rank 1: error: | none";
    for (row, parts) in rows(table) {
        let (variables, options) = row.split_once(" ; ").unwrap();
        let mut command = place.command(&format!("generate -m @tiny {options}"));
        for variable in variables.split_whitespace() {
            let (name, value) = variable.split_once('=').unwrap();
            command.env(name, value);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{row}");
        let said = stderr(&output);
        says(&said, &parts);
        assert_eq!(said.lines().filter(|l| l.contains("error: ")).count(), 1);
    }
    assert_eq!(place.files("."), ["prompts"]);
}

#[test]
fn a_pipeline_is_printed_by_the_first_process() {
    let place = Place::new();
    let line = "generate -p x --device cuda:0,cuda:1 --print-pipeline";
    let printed = processes(&place, line, 2);
    all_good(&printed);
    let text = String::from_utf8_lossy(&printed[0].stdout);
    assert!(text.contains("device: cuda:0,cuda:1") || text.contains("device: \"cuda:0,cuda:1\""));
    assert!(printed[1].stdout.is_empty());
}
