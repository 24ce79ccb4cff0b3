//! What an ELF file offers and needs, as the dynamic loader sees it: symbols, and versions of glibc.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::path::Path;

use object::read::ReadCache;
use object::read::elf::{ElfFile64, SectionTable};
use object::{Endianness, Object, ObjectSymbol, elf};

/// A program or a library.
#[derive(Debug, Default)]
pub struct Elf {
    /// `EM_X86_64` and the like.
    pub machine: u16,
    /// The symbols that it offers to libraries, those that `wanted` named.
    pub exports: HashSet<String>,
    /// The newest glibc whose symbols it needs.
    pub needs: Option<Glibc>,
    /// The newest version that it offers, if it is glibc itself.
    pub offers: Option<Glibc>,
}

/// A version of glibc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glibc(u32, u32);

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Glibc {
    /// Reads `GLIBC_2.34`; a patch level does not count, `GLIBC_PRIVATE` is none.
    fn read(name: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?;
        let mut numbers = text.split('.').map(str::parse::<u32>);
        Some(Self(numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

impl Elf {
    /// Reads a file; of its symbols only those that begin with `prefix`.
    ///
    /// # Errors
    /// It cannot be read, or is no 64-bit ELF.
    pub fn read(path: &Path, prefix: &str) -> Result<Self, String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let cache = ReadCache::new(file);
        let wrong = |e: object::Error| format!("no 64-bit ELF file: {e}");
        let parsed = ElfFile64::<Endianness, _>::parse(&cache).map_err(wrong)?;
        let mut exports = HashSet::new();
        for symbol in parsed.dynamic_symbols().filter(|symbol| symbol.is_definition()) {
            if let Ok(name) = symbol.name()
                && name.starts_with(prefix)
            {
                exports.insert(name.to_owned());
            }
        }
        let (endian, sections) = (parsed.endian(), parsed.elf_section_table());
        Ok(Self {
            machine: parsed.elf_header().e_machine.get(endian).0,
            exports,
            needs: needs(endian, sections, &cache).map_err(wrong)?,
            offers: offers(endian, sections, &cache).map_err(wrong)?,
        })
    }
}

type Cache = ReadCache<File>;
type Header = elf::FileHeader64<Endianness>;

fn needs<'a>(
    endian: Endianness,
    sections: &SectionTable<'a, Header, &'a Cache>,
    data: &'a Cache,
) -> object::Result<Option<Glibc>> {
    let mut newest = None;
    let Some((mut files, link)) = sections.gnu_verneed(endian, data)? else {
        return Ok(None);
    };
    let strings = sections.strings(endian, data, link)?;
    while let Some((_, mut versions)) = files.next()? {
        while let Some(version) = versions.next()? {
            newest = newest.max(Glibc::read(version.name(endian, strings)?));
        }
    }
    Ok(newest)
}

fn offers<'a>(
    endian: Endianness,
    sections: &SectionTable<'a, Header, &'a Cache>,
    data: &'a Cache,
) -> object::Result<Option<Glibc>> {
    let mut newest = None;
    let Some((mut versions, link)) = sections.gnu_verdef(endian, data)? else {
        return Ok(None);
    };
    let strings = sections.strings(endian, data, link)?;
    while let Some((_, mut names)) = versions.next()? {
        if let Some(name) = names.next()? {
            newest = newest.max(Glibc::read(name.name(endian, strings)?));
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let read = |name: &str| Glibc::read(name.as_bytes());
        assert!(read("GLIBC_2.4") < read("GLIBC_2.34"));
        assert_eq!(read("GLIBC_2.2.5"), read("GLIBC_2.2"));
        assert_eq!(read("GLIBC_2.36").map(|v| v.to_string()).as_deref(), Some("2.36"));
        for other in ["GLIBC_PRIVATE", "GCC_3.0", "GLIBC_", "GLIBC_2"] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn this_program_is_read() {
        let own = std::env::current_exe().unwrap();
        let elf = Elf::read(&own, "envoy_dynamic_module_").unwrap();
        assert!(elf.needs > Glibc::read(b"GLIBC_2.2"), "{:?}", elf.needs);
        assert_eq!(elf.offers, None, "it is not glibc");
        let wrong = Elf::read(Path::new("/proc/self/status"), "").unwrap_err();
        assert!(wrong.starts_with("no 64-bit ELF file"), "{wrong}");
    }
}
