//! Settings from the outside: what loads, what is refused, and what a refusal says.

#[cfg(test)]
mod faults;
#[cfg(test)]
mod guide;
#[cfg(test)]
mod load;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod support;
#[cfg(test)]
mod token_keys;
#[cfg(test)]
mod watching;
