//! Movement, products, indexed access, random numbers and element types: compiled against interpreted.

use crate::oracle::{check, numbers, with_gradients};
use evenkeel::host::host_target;
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::{DType, Graph, parse};
use evenkeel_runtime::Tensor;

#[track_caller]
fn graph(text: &str) -> Graph {
    parse(text, "test.ek").unwrap_or_else(|error| panic!("{error}"))
}

/// Compares a text graph and its gradients towards the first `wrt` inputs.
#[track_caller]
fn same(text: &str, wrt: usize, batch: u64) {
    let forward = graph(text);
    let graph = if wrt == 0 { forward } else { with_gradients(&forward, wrt) };
    let inputs: Vec<Tensor> = evenkeel::bench::inputs(&graph, batch);
    check(&graph, &inputs, 2e-5);
}

#[test]
fn views_are_read_in_place() {
    for batch in [1, 3, 70] {
        same("x = input f32[N,6]\ny = add (exp (transpose @1,0 x)) 1.0\nreturn y", 1, batch);
        same("x = input f32[N,6]\ny = tanh (reshape [N,2,3] x)\nreturn y", 1, batch);
        same("x = input f32[N,6]\ny = tanh (slice axis=1 start=1 length=3 stride=2 x)\nreturn y", 1, batch);
        same("x = input f32[N,6]\ny = mul (flip @1 x) x\nreturn y", 1, batch);
        same(
            "x = input f32[N,6]\ny = mul (flip @0 x) x\nz = flip @0,1 (transpose @1,0 x)\nreturn y, z",
            1,
            batch,
        );
        same("x = input f32[N,6]\ny = transpose @1,0 x\nz = reshape [6N] (mul x x)\nreturn y, z", 1, batch);
        same(
            "x = input f32[N,6]\nt = tanh x\ny = sum @1 (reshape [6,N] (transpose @1,0 t))\nreturn y",
            1,
            batch,
        );
    }
}

#[test]
fn windows_are_written_in_place() {
    for batch in [1, 3, 70] {
        same("x = input f32[N,5]\ny = pad axis=1 low=2 high=1 interior=0 (square x)\nreturn y", 1, batch);
        same("x = input f32[N,5]\ny = pad axis=1 low=0 high=0 interior=2 x\nreturn y", 1, batch);
        same("x = input f32[N,5]\nw = input f32[N,3]\ny = concat axis=1 x (exp w) x\nreturn y", 2, batch);
    }
}

#[test]
fn products_of_every_layout() {
    for batch in [1, 5, 66] {
        same("x = input f32[N,7]\nw = input f32[4,7]\ny = dot @1 @1 x w\nreturn y", 2, batch);
        same("x = input f32[N,7]\nw = input f32[7,4]\ny = gelu (dot @1 @0 x w)\nreturn y", 2, batch);
        same("x = input f32[N,3,7]\nw = input f32[4,7]\ny = dot @2 @1 x w\nreturn y", 2, batch);
        same(
            "q = input f32[N,5,8]\nk = input f32[N,6,8]\ny = softmax @2 (dot batch=1 @2 @2 q k)\nreturn y",
            2,
            batch,
        );
        same("x = input f32[N,7]\ny = dot @0 @0 x x\nreturn y", 1, batch);
        same(
            "x = input f32[N,7]\nw = input f32[4,7]\ny = dot @1 @0 (tanh x) (transpose @1,0 w)\nreturn y",
            2,
            batch,
        );
    }
}

#[test]
fn indices_gather_and_scatter() {
    let forward = graph("t = input f32[9,4]\ni = input i32[N]\ny = mul (gather axis=0 t i) 2.0\nreturn y");
    let both = with_gradients(&forward, 1);
    for rows in [1, 4, 33] {
        let index: Vec<i32> = (0..rows).map(|i| (i * 7 % 9) as i32).collect();
        let cotangent = numbers(&[rows, 4], 5);
        check(&both, &[numbers(&[9, 4], 1), Tensor::from_vec(&[rows], index).unwrap(), cotangent], 1e-6);
    }
}

#[test]
fn an_index_outside_reads_nan_and_writes_nothing() {
    let gather = graph("t = input f32[3,2]\ni = input i64[4]\ny = gather axis=0 t i\nreturn y");
    let index = Tensor::from_vec(&[4], vec![-1i64, 0, 3, 2]).unwrap();
    check(&gather, &[numbers(&[3, 2], 1), index.clone()], 1e-6);
    let scatter = graph("u = input f32[4,2]\ni = input i64[4]\ny = scatter_add axis=0 size=3 u i\nreturn y");
    check(&scatter, &[numbers(&[4, 2], 1), index], 1e-6);
}

#[test]
fn random_numbers_are_those_of_the_interpreter() {
    let text = "s = input i64[]\nx = input f32[N,5]\nb = random_bits stream=3 i32[N,5] s\n\
                u = random_uniform stream=4 f32[N,5] s\nn = random_normal stream=5 f32[N,5] s\n\
                y = mul (select (lt u 0.5) x 0.0) n\nreturn b, u, y";
    for (seed, rows) in [(0i64, 1), (-7, 13), (1 << 40, 70)] {
        check(&graph(text), &[Tensor::scalar(seed), numbers(&[rows, 5], 1)], 1e-5);
    }
}

#[test]
fn other_element_types_compute() {
    let text = "x = input f64[N,5]\ng = input f64[5]\nb = input f64[5]\n\
                y = layer_norm @1 eps=1e-5 x g b\nz = gelu y\nw = sum @0 (log (add (square z) 1.0))\nreturn y, z, w";
    let both = with_gradients(&graph(text), 3);
    for batch in [1, 9, 130] {
        let inputs = evenkeel::bench::inputs(&both, batch);
        check(&both, &inputs, 1e-12);
    }
    let ints = "a = input i64[N]\nb = input i32[N]\nc = add a (cast i64 b)\nd = max @0 c\ne = eq c d\n\
                f = add (cast i32 e) b\nreturn c, d, e, f";
    for batch in [1, 9, 130] {
        let inputs = evenkeel::bench::inputs(&graph(ints), batch);
        check(&graph(ints), &inputs, 0.0);
    }
}

#[test]
fn integers_wrap_alike() {
    let text = |ty: &str| {
        graph(&format!(
            "a = input {ty}[3]\nb = neg a\nc = sub b 1\nd = mul a a\ne = gt b 0\nreturn b, c, d, e"
        ))
    };
    let narrow = Tensor::from_vec(&[3], [i32::MIN, i32::MAX, -1]).unwrap();
    check(&text("i32"), &[narrow], 0.0);
    let wide = Tensor::from_vec(&[3], [i64::MIN, i64::MAX, (1 << 60) + 1]).unwrap();
    check(&text("i64"), &[wide], 0.0);
}

#[test]
fn batch_statistics_over_leading_axes() {
    for batch in [2, 5, 64] {
        same("x = input f32[N,6,4]\ny = relu (standardize @0,2 eps=1e-5 x)\nreturn y", 1, batch);
        same("x = input f32[N,6]\ny = softmax @0 x\nz = logsumexp @0,1 x\nreturn y, z", 1, batch);
    }
}

#[test]
fn statistics_of_groups_of_channels() {
    // areas of one element, less than a vector, one with a tail, several with one
    for (channels, groups, area) in [(6, 3, 1), (6, 2, 9), (4, 4, 21), (8, 2, 70), (4, 2, 36)] {
        let text = format!(
            "x = input f32[5,{channels},{area}]\ng = input f32[{channels},1]\nb = input f32[{channels},1]\n\
             u = standardize @2,3 eps=1e-3 (reshape [5,{groups},{},{area}] x)\n\
             y = tanh (add (mul (reshape [5,{channels},{area}] u) (exp g)) b)\n\
             k = mul (iota rank=2 axis=1 extent={area}) 1\nz = select (gt k 3) y x\nreturn z, y",
            channels / groups
        );
        same(&text, 3, 1);
    }
    // the batch before, rows that are split, random numbers of a split tensor
    for batch in [1, 3, 40] {
        same(
            "x = input f32[N,24]\ng = input f32[24]\nr = reshape [N,4,6] (mul x g)\n\
             y = add (reshape [N,24] (softmax @2 r)) (layer_norm @1 eps=1e-5 x g g)\nreturn y",
            2,
            batch,
        );
        same(
            "x = input f32[N,24]\ns = input f32[24]\nn = iota rank=2 axis=1 extent=24\n\
             r = reshape [N,4,6] (select (lt n 7) (mul x s) x)\n\
             y = sub (mul x s) (reshape [N,24] (sub r (max @2 r)))\nz = sum @0 y\nreturn y, z",
            2,
            batch,
        );
    }
}

#[test]
fn sums_of_channels_join_the_sweep_over_images() {
    for (images, area) in [(2, 5), (70, 16), (130, 19), (3, 196)] {
        let text = format!(
            "x = input f32[{images},3,2,{area}]\nw = input f32[3,1,1]\ny = mul (softmax @2,3 x) w\n\
             a = sum @0,2,3 y\nb = max @0,3 x\nc = sum @0,1 y\nreturn y, a, b, c"
        );
        same(&text, 2, 1);
    }
}

#[test]
fn elements_are_picked_before_they_are_changed() {
    let text = |value: &str| {
        graph(&format!(
            "x = input f32[N,21]\nt = input i32[N,1]\ni = iota rank=2 axis=1 extent=21\np = log_softmax @1 x\n\
             q = mul (sub 3.0 p) (square (max @1 x))\nc = broadcast [N,21] (sum @1 x)\n\
             y = sum @1 (select (eq t i) {value} 0.0)\nreturn y"
        ))
    };
    let place = |row: usize| [0, 20, -1, 21, 7, i32::MIN][row % 6];
    for value in ["p", "q", "c", "x", "(exp (mul p p))", "(add p x)"] {
        for rows in [1, 6, 70] {
            let index = Tensor::from_vec(&[rows, 1], (0..rows).map(place).collect::<Vec<i32>>()).unwrap();
            let forward = text(value);
            let inputs = [numbers(&[rows, 21], 1), index, numbers(&[rows, 1], 2)];
            check(&forward, &inputs[..2], 2e-5);
            check(&with_gradients(&forward, 1), &inputs, 2e-5);
        }
    }
}

/// An element of a row that data chooses: loaded where it stands, if it does.
#[test]
fn elements_are_picked_from_rows() {
    let programs = [
        "x = input f32[N,37]\nt = input i32[N,1]\ni = iota rank=2 axis=1 extent=37\n\
         return sum @1 (select (eq i t) x 0.0)",
        "x = input f32[N,37]\nt = input i32[N,1]\ni = iota rank=2 axis=1 extent=37\n\
         return sum @1 (select (eq t i) (exp x) 0.0)",
        "x = input i32[N,37]\nt = input i32[N,1]\ni = iota rank=2 axis=1 extent=37\n\
         return sum @1 (select (eq i t) x 0)",
        "x = input f32[N,37]\nt = input i64[N,1]\ni = iota rank=2 axis=1 extent=37\n\
         return sum @1 (select (eq i (cast i32 t)) x 0.0)",
        "x = input f32[N,5,9]\nt = input i32[N,1,9]\ni = iota rank=3 axis=1 extent=5\n\
         return sum @1 (select (eq i t) x 0.0)",
        "x = input f32[37,N]\nt = input i32[37,1]\ni = iota rank=2 axis=1 extent=N\n\
         return sum @1 (select (eq i t) x 0.0)",
        "x = input f32[N,37]\ny = slice axis=1 start=1 length=18 stride=2 x\nt = input i32[N,1]\n\
         i = iota rank=2 axis=1 extent=18\nreturn sum @1 (select (eq i t) y 0.0)",
        "x = input f32[N,37]\ny = slice axis=1 start=3 length=30 stride=1 x\nt = input i32[N,1]\n\
         i = iota rank=2 axis=1 extent=30\nreturn sum @1 (select (eq i t) y 0.0)",
        "x = input f32[N,37]\ni = iota rank=2 axis=1 extent=37\n\
         return sum @1 (select (eq i (argmax @1 x)) x 0.0)",
        "x = input f32[N,37]\nw = input f32[50,37]\nt = input i32[N,1]\ni = iota rank=2 axis=1 extent=50\n\
         y = dot @1 @1 x w\nreturn sum @1 (select (eq i t) y 0.0)",
    ];
    for text in programs {
        for batch in [1, 9, 70] {
            let graph = graph(text);
            let indices =
                |sizes: &[usize]| (0..sizes.iter().product::<usize>() as i32).map(|i| i * 7 % 45 - 3);
            let inputs = graph.inputs().iter().map(|input| {
                let sizes = input.ty.shape.at(batch);
                match input.ty.dtype {
                    DType::I32 => Tensor::from_vec(&sizes, indices(&sizes).collect::<Vec<i32>>()).unwrap(),
                    DType::I64 => {
                        Tensor::from_vec(&sizes, indices(&sizes).map(i64::from).collect::<Vec<i64>>())
                            .unwrap()
                    }
                    _ => numbers(&sizes, 2),
                }
            });
            check(&graph, &inputs.collect::<Vec<_>>(), 1e-6);
        }
    }
}

/// Kernels of a built-in layer, forward and with the gradients of its first `wrt` inputs.
#[track_caller]
fn kernels(layer: &str, shape: &[u64], wrt: usize) -> [usize; 2] {
    let found = evenkeel::bench::layers().iter().find(|row| row.name == layer).expect("a built-in layer");
    let forward = found.case(shape, false).unwrap().graph;
    let target = host_target(1);
    [with_gradients(&forward, wrt), forward]
        .map(|graph| compile(&graph, &target, &Options::default()).unwrap().report.kernels.len())
}

#[test]
fn the_backward_of_a_norm_reads_its_input_and_statistics_of_rows() {
    let text = "x = input f32[N,768]\ng = input f32[768]\nb = input f32[768]\nw = input f32[768,768]\n\
                return l=sum @0,1 (square (dot @1 @0 (NORM) w))";
    for norm in ["layer_norm @1 eps=1e-5 x g b", "rms_norm @1 eps=1e-5 x g"] {
        let training = with_gradients(&graph(&text.replace("NORM", norm)), 4);
        let arena = compile(&training, &host_target(1), &Options::default()).unwrap().report.arena;
        // the norm, the product and the gradient of the norm; the standardized rows would be a fourth
        let rows = 4 * 768 * arena.batch.unwrap() as usize;
        assert!(arena.bytes < 7 * rows / 2, "{norm}: {} of {rows} bytes", arena.bytes);
    }
}

#[test]
fn layers_are_as_few_kernels_as_their_statistics_allow() {
    let image = [4, 64, 14, 14];
    assert_eq!(kernels("group_norm_silu", &image, 3), [1, 1]);
    assert_eq!(kernels("batch_norm_relu", &image, 3), [1, 1]);
    assert_eq!(kernels("instance_norm", &image, 3), [1, 1]);
    assert_eq!(kernels("evonorm_s0", &image, 4), [1, 1]);
    // statistics of the batch, then those of images; a factor per channel, the rest of the gradient
    assert_eq!(kernels("evonorm_b0", &image, 4), [4, 2]);
    // one over the logits; indices, mean of the rows
    assert_eq!(kernels("cross_entropy", &[64, 1000], 1), [4, 4]);
}
