//! Unified diffs of lines.

/// Lines around a change that are shown with it.
const AROUND: usize = 3;

/// Pairs of lines that are worth a comparison.
const MOST: usize = 1 << 20;

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
    let (mut i, mut j) = (0, 0);
    let mut found = Vec::new();
    matches(a, b, (0, 0), &mut found);
    found.push((a.len(), b.len(), 0));
    for (from, to, count) in found {
        add(false, (head + i, head + j), (from - i, to - j));
        add(true, (head + from, head + to), (count, count));
        (i, j) = (from + count, to + count);
    }
    add(true, (old.len() - tail, new.len() - tail), (tail, tail));
    runs
}

/// Blocks that both have, in order: the longest first of all, then those before and after it. The
/// original finds them like that, which is not always the most that both have.
fn matches(a: &[String], b: &[String], at: (usize, usize), out: &mut Vec<(usize, usize, usize)>) {
    let (from, to, count) = longest(a, b);
    if count == 0 {
        return;
    }
    matches(&a[..from], &b[..to], at, out);
    out.push((at.0 + from, at.1 + to, count));
    let (i, j) = (from + count, to + count);
    matches(&a[i..], &b[j..], (at.0 + i, at.1 + j), out);
}

/// The first of the longest blocks that both have: where in each, and its length.
fn longest(a: &[String], b: &[String]) -> (usize, usize, usize) {
    let mut best = (0, 0, 0);
    let mut above = vec![0; b.len() + 1];
    for (i, line) in a.iter().enumerate() {
        let mut row = vec![0; b.len() + 1];
        for (j, other) in b.iter().enumerate() {
            if line == other {
                let count = above[j] + 1;
                row[j + 1] = count;
                if count > best.2 {
                    best = (i + 1 - count, j + 1 - count, count);
                }
            }
        }
        above = row;
    }
    best
}
