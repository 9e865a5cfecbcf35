//! Unified diffs of lines.

/// Lines around a change that are shown with it.
const AROUND: usize = 3;

/// Pairs of lines that are worth a comparison.
const MOST: usize = 1 << 22;

/// A run of lines that are the same, or not.
struct Run {
    same: bool,
    /// Where it is in the old lines, and how many there are.
    old: (usize, usize),
    /// The same for the new lines.
    new: (usize, usize),
}

/// The hunks, each after a line break, every line with its own.
pub(super) fn unified(old: &[String], new: &[String]) -> String {
    let runs = runs(old, new);
    let mut out = String::new();
    let mut at = 0;
    while at < runs.len() {
        if runs[at].same {
            at += 1;
            continue;
        }
        let mut end = at + 1;
        while end + 1 < runs.len() && runs[end].old.1 <= 2 * AROUND {
            end += 2;
        }
        if out.is_empty() {
            out.push('\n');
        }
        hunk(old, new, &runs[at..end], &mut out);
        at = end;
    }
    out
}

fn hunk(old: &[String], new: &[String], runs: &[Run], out: &mut String) {
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return };
    let before = first.old.0.min(first.new.0).min(AROUND);
    let (old_end, new_end) = (last.old.0 + last.old.1, last.new.0 + last.new.1);
    let after = (old.len() - old_end).min(new.len() - new_end).min(AROUND);
    let (old_from, new_from) = (first.old.0 - before, first.new.0 - before);
    let range = |from: usize, to: usize| match to - from {
        1 => format!("{}", from + 1),
        0 => format!("{from},0"),
        count => format!("{},{count}", from + 1),
    };
    let (left, right) = (range(old_from, old_end + after), range(new_from, new_end + after));
    out.push_str(&format!("@@ -{left} +{right} @@\n"));
    let mut write = |mark: char, lines: &[String]| {
        for line in lines {
            out.push(mark);
            out.push_str(line);
            out.push('\n');
        }
    };
    write(' ', &old[old_from..first.old.0]);
    for run in runs {
        let (lost, made) =
            (&old[run.old.0..run.old.0 + run.old.1], &new[run.new.0..run.new.0 + run.new.1]);
        if run.same {
            write(' ', lost);
        } else {
            write('-', lost);
            write('+', made);
        }
    }
    write(' ', &old[old_end..old_end + after]);
}

/// Both sides as runs, the same and not by turns.
fn runs(old: &[String], new: &[String]) -> Vec<Run> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b);
    let tail = tail.count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut runs: Vec<Run> = Vec::new();
    let mut add = |same: bool, at: (usize, usize), count: (usize, usize)| match runs.last_mut() {
        _ if count == (0, 0) => {}
        Some(run) if run.same == same => {
            run.old.1 += count.0;
            run.new.1 += count.1;
        }
        _ => runs.push(Run { same, old: (at.0, count.0), new: (at.1, count.1) }),
    };
    add(true, (0, 0), (head, head));
    if a.len() * b.len() > MOST {
        add(false, (head, head), (a.len(), b.len()));
        add(true, (old.len() - tail, new.len() - tail), (tail, tail));
        return runs;
    }
    let longest = table(a, b);
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let at = (head + i, head + j);
        if i < a.len() && j < b.len() && a[i] == b[j] {
            add(true, at, (1, 1));
            i += 1;
            j += 1;
        } else if j >= b.len() || i < a.len() && longest[i + 1][j] >= longest[i][j + 1] {
            add(false, at, (1, 0));
            i += 1;
        } else {
            add(false, at, (0, 1));
            j += 1;
        }
    }
    add(true, (old.len() - tail, new.len() - tail), (tail, tail));
    runs
}

/// How many lines two ends can have in common.
fn table(a: &[String], b: &[String]) -> Vec<Vec<u32>> {
    let mut out = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            out[i][j] = if a[i] == b[j] {
                out[i + 1][j + 1] + 1
            } else {
                out[i + 1][j].max(out[i][j + 1])
            };
        }
    }
    out
}
