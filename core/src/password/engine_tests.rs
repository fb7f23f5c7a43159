use argon2::{AssociatedData, ParamsBuilder};

use super::*;

const TINY: HashCost = HashCost { memory_kib: 64, time_cost: 1, parallelism: 1 };
const ENGINES: [Engine; 2] = [Engine::Argon2, Engine::Simd];

fn memory(engine: Engine, cost: HashCost) -> Memory {
    Memory::new(engine, &cost.recipe().unwrap())
}

fn hash(cost: HashCost, password: &[u8], memory: &mut Memory) -> [u8; OUTPUT_LEN] {
    let mut output = [0; OUTPUT_LEN];
    memory.hash(&cost.recipe().unwrap(), password, b"sixteen-byte-salt", &mut output).unwrap();
    output
}

#[test]
fn the_self_test_of_each_engine_passes() {
    for engine in ENGINES {
        assert!(engine.self_test().unwrap(), "{engine:?}");
        assert_eq!(engine.or_reference(), engine);
    }
}

#[test]
fn reused_memory_changes_no_hash_and_does_not_grow() {
    for engine in ENGINES {
        let mut reused = memory(engine, TINY);
        for password in [&b"one"[..], b"two", b"one", b""] {
            assert_eq!(hash(TINY, password, &mut reused), hash(TINY, password, &mut memory(engine, TINY)));
            assert_eq!(reused.blocks.count(), 64, "{engine:?}");
        }
    }
}

#[test]
fn memory_of_a_dearer_hash_is_given_back() {
    let dear = HashCost { memory_kib: 256, ..TINY };
    for engine in ENGINES {
        let mut kept = memory(engine, TINY);
        hash(TINY, b"one", &mut kept);
        assert_eq!(hash(dear, b"one", &mut kept), hash(dear, b"one", &mut memory(engine, dear)));
        assert_eq!(kept.blocks.count(), 64, "{engine:?}");
    }
}

fn random(below: u32) -> u32 {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    u32::from_le_bytes(bytes) % below
}

fn random_bytes(length: u32) -> Vec<u8> {
    (0..length).map(|_| u8::try_from(random(256)).unwrap()).collect()
}

/// Every variant, version, number of lanes and passes, length of password, salt, associated data and output that a stored hash
/// may have, in memory that is used again and again.
#[test]
fn both_engines_give_the_same_for_whatever_may_be_stored() {
    let largest = HashCost { memory_kib: 400, time_cost: 1, parallelism: 1 };
    let mut memories = ENGINES.map(|engine| memory(engine, largest));
    for _ in 0..400 {
        let lanes = 1 + random(9);
        let mut params = ParamsBuilder::new();
        params.m_cost(8 * lanes + random(300)).t_cost(1 + random(3)).p_cost(lanes);
        params.data(AssociatedData::new(&random_bytes(random(33))).unwrap());
        let recipe = Recipe {
            algorithm: [Algorithm::Argon2id, Algorithm::Argon2i][random(2) as usize],
            version: [Version::V0x13, Version::V0x10][random(2) as usize],
            params: params.build().unwrap(),
        };
        let (password, salt) = (random_bytes(random(200)), random_bytes(8 + random(40)));
        let length = 4 + random(60) as usize;
        let outputs = memories.each_mut().map(|memory| {
            let mut output = vec![0; length];
            memory.hash(&recipe, &password, &salt, &mut output).unwrap();
            output
        });
        assert_eq!(outputs[0], outputs[1], "{recipe:?}, password {password:?}, salt {salt:?}");
    }
}
