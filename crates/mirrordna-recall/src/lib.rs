//! Deterministic lexical recall: BM25 over what is in scope.
//!
//! This crate **owns** how text becomes terms and how documents are scored. It
//! **never** stores anything, knows nothing of events or tenants, and calls no
//! model: the same documents and query give the same ranking on every machine.
//! Statistics are taken inside the filtered scope, so a scope learns nothing of
//! another's vocabulary.

use rust_stemmers::{Algorithm, Stemmer};
use std::collections::{HashMap, HashSet};

/// BM25 term saturation (Robertson and Zaragoza 2009, section 3.4).
const K1: f64 = 1.2;
/// BM25 length normalisation.
const B: f64 = 0.75;

/// Words too common in English to tell documents apart.
const STOP: [&str; 60] = [
    "a", "an", "and", "are", "as", "at", "be", "been", "but", "by", "did", "do", "does", "for", "from", "had", "has", "have", "he", "her",
    "his", "how", "i", "if", "in", "is", "it", "its", "me", "my", "of", "on", "or", "our", "she", "so", "that", "the", "their", "them",
    "they", "this", "to", "was", "we", "were", "what", "when", "where", "which", "who", "whom", "why", "will", "with", "would", "you",
    "your", "am", "us",
];

/// Splits text into terms: lower-cased runs of letters and digits, stemmed
/// (Snowball English), single characters for scripts written without spaces.
#[must_use]
pub fn terms(text: &str) -> Vec<String> {
    let stemmer = Stemmer::create(Algorithm::English);
    let mut out = Vec::new();
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut Vec<String>| {
        if !word.is_empty() && !STOP.contains(&word.as_str()) {
            out.push(stemmer.stem(word).into_owned());
        }
        word.clear();
    };
    for c in text.chars().flat_map(char::to_lowercase) {
        if is_unspaced(c) {
            flush(&mut word, &mut out);
            out.push(c.to_string());
        } else if c.is_alphanumeric() {
            word.push(c);
        } else if c != '\'' && c != '\u{2019}' {
            flush(&mut word, &mut out);
        }
    }
    flush(&mut word, &mut out);
    out
}

/// Scripts that do not separate words: Han, Hiragana, Katakana, Thai.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{0e00}'..='\u{0e7f}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// A document found, with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The number the document was added under.
    pub doc: u32,
    /// BM25 score, above 0, without unit: statistics are those of the scope, so
    /// that scores of two searches cannot be compared.
    pub score: f64,
}

/// An inverted index in memory, with every document it was given: about one
/// posting of 8 bytes per distinct term of a document.
///
/// ```
/// use mirrordna_recall::Index;
///
/// let mut index = Index::new();
/// index.add(0, "Prefers trains to planes");
/// index.add(1, "The boathouse is booked for the 14th");
/// index.add(2, "Collects tickets of night trains");
/// let docs = |hits: Vec<mirrordna_recall::Hit>| hits.iter().map(|h| h.doc).collect::<Vec<_>>();
/// assert_eq!(docs(index.search("a night train?", 10, &|_| true)), [2, 0]);
///
/// // What is out of scope neither answers nor counts in the statistics.
/// assert_eq!(docs(index.search("a night train?", 10, &|doc| doc < 2)), [0]);
/// index.remove(0);
/// assert!(index.search("planes", 10, &|_| true).is_empty());
/// ```
#[derive(Debug, Default)]
pub struct Index {
    postings: HashMap<String, Vec<(u32, u32)>>,
    lengths: HashMap<u32, u32>,
    removed: HashSet<u32>,
}

impl Index {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a document. Numbers must grow; a document is changed by removing
    /// it and adding it under a new number.
    pub fn add(&mut self, doc: u32, text: &str) {
        let terms = terms(text);
        self.lengths.insert(doc, terms.len() as u32);
        for term in terms {
            let list = self.postings.entry(term).or_default();
            match list.last_mut() {
                Some((last, count)) if *last == doc => *count += 1,
                _ => list.push((doc, 1)),
            }
        }
    }

    /// Takes a document out of every later answer.
    pub fn remove(&mut self, doc: u32) {
        if self.lengths.remove(&doc).is_some() {
            self.removed.insert(doc);
        }
    }

    /// The same for some, and their terms do not stay in memory either. Every
    /// term there is is looked at once.
    pub fn forget(&mut self, docs: &HashSet<u32>) {
        self.lengths.retain(|doc, _| !docs.contains(doc));
        self.removed.retain(|doc| !docs.contains(doc));
        self.postings.retain(|_, list| {
            list.retain(|(doc, _)| !docs.contains(doc));
            !list.is_empty()
        });
    }

    /// The best `limit` documents among those in scope; ties by number.
    #[must_use]
    pub fn search(&self, query: &str, limit: usize, in_scope: &dyn Fn(u32) -> bool) -> Vec<Hit> {
        let mut words = terms(query);
        words.sort_unstable();
        words.dedup();
        let scope: HashMap<u32, f64> = self.lengths.iter().filter(|(d, _)| in_scope(**d)).map(|(d, len)| (*d, f64::from(*len))).collect();
        if scope.is_empty() {
            return Vec::new();
        }
        let n = scope.len() as f64;
        // Summed as integers: the order of a hash map must not reach a float.
        let total: u64 = scope.keys().filter_map(|d| self.lengths.get(d)).map(|l| u64::from(*l)).sum();
        let average = (total as f64 / n).max(1.0);
        let mut scores: HashMap<u32, f64> = HashMap::new();
        for word in &words {
            let Some(list) = self.postings.get(word) else { continue };
            let found: Vec<(u32, f64, f64)> =
                list.iter().filter_map(|(d, tf)| scope.get(d).map(|len| (*d, f64::from(*tf), *len))).collect();
            let df = found.len() as f64;
            let idf = (1.0 + (n - df + 0.5) / (df + 0.5)).ln();
            for (doc, tf, len) in found {
                *scores.entry(doc).or_default() += idf * tf * (K1 + 1.0) / (tf + K1 * (1.0 - B + B * len / average));
            }
        }
        let mut hits: Vec<Hit> = scores.into_iter().map(|(doc, score)| Hit { doc, score }).collect();
        hits.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.doc.cmp(&b.doc)));
        hits.truncate(limit);
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(texts: &[&str]) -> Index {
        let mut i = Index::new();
        texts.iter().enumerate().for_each(|(n, t)| i.add(n as u32, t));
        i
    }

    #[test]
    fn words_are_folded_and_stemmed() {
        assert_eq!(terms("The venues' Boathouse, and 14th!"), ["venu", "boathous", "14th"]);
        assert_eq!(terms("東京 Tower"), ["東", "京", "tower"]);
    }

    #[test]
    fn rare_words_win_and_scope_is_exact() {
        let i = index(&["we picked the boathouse as venue", "the venue is nice", "lunch at noon", "venue venue venue"]);
        let hits = i.search("which venue was picked?", 9, &|_| true);
        assert_eq!(hits[0].doc, 0);
        assert_eq!(i.search("venue", 9, &|d| d == 1).iter().map(|h| h.doc).collect::<Vec<_>>(), [1]);
        assert!(i.search("zebra", 9, &|_| true).is_empty() && i.search("", 9, &|_| true).is_empty());
    }

    #[test]
    fn other_documents_do_not_change_a_scopes_scores() {
        let mut i = index(&["red fox", "blue fox"]);
        let before = i.search("red fox", 9, &|d| d < 2);
        (2..50).for_each(|d| i.add(d, "red red red"));
        assert_eq!(i.search("red fox", 9, &|d| d < 2), before);
        i.remove(0);
        assert_eq!(i.search("red", 9, &|d| d < 2), []);
    }

    #[test]
    fn what_is_forgotten_leaves_no_term() {
        let mut i = index(&["a secret word", "an open word", "another secret"]);
        i.forget(&HashSet::from([0, 2]));
        assert_eq!(i.search("word", 9, &|_| true).iter().map(|h| h.doc).collect::<Vec<_>>(), [1]);
        let mut left: Vec<&str> = i.postings.keys().map(String::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["open", "word"]);
        i.add(3, "a secret again");
        assert_eq!(i.search("secret", 9, &|_| true).len(), 1);
    }
}
