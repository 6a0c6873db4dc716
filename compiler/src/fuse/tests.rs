//! The verifier accepts what fusion makes, and names what was broken on purpose.

use super::{Fusion, Group, ReductionKind, fuse};
use crate::expand::expand;
use evenkeel_ir::{Axes, Graph, NodeId, Op, Reduce, parse};

const SOURCE: &str = "x = input f32[N,64]
w = input f32[64,64]
g = input f32[64]
h = dot @1 @0 (layer_norm @1 eps=1e-5 x g g) w
return a=mul (softmax @1 h) (sum @0 h), b=gelu (transpose @1,0 h)";

fn fused() -> (Graph, Fusion) {
    let graph = expand(&parse(SOURCE, "fuse").unwrap_or_else(|error| panic!("{error}")));
    let fusion = fuse(&graph, true);
    (graph, fusion)
}

/// A reduction of some kind and its group.
fn reduction(fusion: &Fusion, kind: ReductionKind) -> (NodeId, usize) {
    let place = fusion.reductions.iter().position(|found| *found == Some(kind)).expect("a reduction");
    (NodeId(place as u32), fusion.group_of[place].expect("reductions are in groups"))
}

/// What the verifier says of a fusion with a fault.
fn fault(spoil: fn(&Graph, &mut Fusion)) -> String {
    let (graph, mut fusion) = fused();
    assert_eq!(fusion.verify(&graph), Ok(()));
    spoil(&graph, &mut fusion);
    fusion.verify(&graph).expect_err("a fault")
}

fn lost_member(_: &Graph, fusion: &mut Fusion) {
    fusion.groups[0].nodes.pop();
}

fn member_of_two_groups(_: &Graph, fusion: &mut Fusion) {
    let extra = fusion.groups[1].nodes[0];
    fusion.groups[0].nodes.push(extra);
    fusion.groups[0].nodes.sort_unstable();
}

fn members_out_of_order(_: &Graph, fusion: &mut Fusion) {
    fusion.groups[0].nodes.reverse();
}

fn other_space(_: &Graph, fusion: &mut Fusion) {
    fusion.groups[0].space = evenkeel_ir::Shape::of(&[3]);
}

fn other_axes(_: &Graph, fusion: &mut Fusion) {
    let (_, group) = reduction(fusion, ReductionKind::Row);
    fusion.groups[group].reduced = Some(Axes::new([0]));
}

fn nothing_stored(_: &Graph, fusion: &mut Fusion) {
    fusion.stored.fill(false);
}

fn sum_not_stored(_: &Graph, fusion: &mut Fusion) {
    let (id, _) = reduction(fusion, ReductionKind::Accumulated);
    fusion.stored[id.0 as usize] = false;
}

fn row_value_not_stored(graph: &Graph, fusion: &mut Fusion) {
    // one op each: every reduction is read by other groups
    *fusion = fuse(graph, false);
    let (id, _) = reduction(fusion, ReductionKind::Row);
    fusion.stored[id.0 as usize] = false;
}

/// All of a sum's readers in its group.
fn sum_read_early(graph: &Graph, fusion: &mut Fusion) {
    let is_sum = |id: &NodeId| matches!(graph.node(*id).op, Op::Reduce(Reduce::Sum, _));
    let read_inside = |id: &NodeId| {
        graph.users()[id.0 as usize]
            .iter()
            .any(|user| fusion.group_of[user.0 as usize] == fusion.group_of[id.0 as usize])
    };
    let rows = (0..graph.nodes().len() as u32).map(NodeId).filter(is_sum).find(read_inside);
    fusion.reductions[rows.expect("a sum of rows").0 as usize] = Some(ReductionKind::Accumulated);
}

/// The groups before and behind the product as one, which then waits for itself.
fn one_group_around_a_product(_: &Graph, fusion: &mut Fusion) {
    let spaces: Vec<Group> = fusion.groups.clone();
    let same = |group: &Group| group.space == spaces[0].space && group.reduced == spaces[0].reduced;
    let other = (1..spaces.len()).find(|&i| same(&spaces[i])).expect("a second group of such rows");
    let moved = std::mem::take(&mut fusion.groups[other].nodes);
    moved.iter().for_each(|id| fusion.group_of[id.0 as usize] = Some(0));
    fusion.groups[0].nodes.extend(moved);
    fusion.groups[0].nodes.sort_unstable();
}

#[test]
fn faults_are_named() {
    let cases: [(fn(&Graph, &mut Fusion), &str); 10] = [
        (lost_member, "noted as Some(0)"),
        (member_of_two_groups, "is in groups 0 and 1"),
        (members_out_of_order, "group 0 is not in topological order"),
        (other_space, "in the space [3]"),
        (other_axes, "as rows of a group that reduces"),
        (nothing_stored, "is not stored"),
        (sum_not_stored, "is not stored"),
        (row_value_not_stored, "cannot compute"),
        (sum_read_early, "a sum over rows of its own group"),
        (one_group_around_a_product, "group 0 waits for itself"),
    ];
    for (spoil, wanted) in cases {
        let found = fault(spoil);
        assert!(found.contains(wanted), "{wanted}: {found}");
    }
}
