//! Queues and stacks against a deque.

use super::*;
use crate::uapi::{elem_flags as f, errno};
use alloc::collections::VecDeque;

#[test]
fn queues_and_stacks_behave_as_a_deque() {
    for t in [MapType::Queue, MapType::Stack] {
        for max in [1usize, 2, 7] {
            let p = pair(t, 0, 12, max as u32, 0, 1);
            let mut m: VecDeque<Vec<u8>> = VecDeque::new();
            let mut rng = Rng(max as u64);
            for _ in 0..3000 {
                let v: Vec<u8> = (0..12).map(|_| rng.next() as u8).collect();
                let stack = t == MapType::Stack;
                let top = if stack { m.back() } else { m.front() }.cloned();
                let mut out = [1; 12];
                match rng.below(5) {
                    0..2 => {
                        let flags = [0, f::EXIST, f::NOEXIST, 3][rng.below(4) as usize];
                        let want = match flags {
                            f::NOEXIST | 3 => errno::EINVAL,
                            0 if m.len() == max => errno::E2BIG,
                            _ => {
                                if m.len() == max {
                                    m.pop_front();
                                }
                                m.push_back(v.clone());
                                0
                            }
                        };
                        assert_eq!(errno_of(p.map.push(&v, flags)), want);
                    }
                    2..4 => {
                        let got = p.map.sys_take(0, &[], &mut out, 0);
                        assert_eq!(got.is_ok(), top.is_some());
                        assert_eq!(&out[..], top.as_deref().unwrap_or(&[0; 12]));
                        if stack {
                            m.pop_back()
                        } else {
                            m.pop_front()
                        };
                    }
                    _ => {
                        assert_eq!(errno_of(p.map.peek(&mut out)) == 0, top.is_some());
                        assert_eq!(&out[..], top.as_deref().unwrap_or(&[0; 12]));
                    }
                }
            }
        }
    }
    let p = pair(MapType::Queue, 0, 4, 1, 0, 1);
    assert_eq!(errno_of(p.map.delete(0, &[])), errno::EINVAL);
    assert_eq!(errno_of(p.map.sys_next_key(None, &mut [])), errno::EINVAL);
    assert_eq!(p.host.lookup(&[], &mut [0; 4], 0), Err(ReadError::AskGuest));
}
