//! Areas as rectangles that are as square as they can be: Bruls, Huizing and van Wijk, "Squarified
//! Treemaps" (2000).

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    /// Returns the rectangle at the origin.
    pub(super) const fn of(width: f64, height: f64) -> Self {
        Self {
            x: 0.0,
            y: 0.0,
            width,
            height,
        }
    }
}

/// Shares out a rectangle to positive sizes, the largest first.
pub(super) fn squares(sizes: &[f64], mut free: Rect) -> Vec<Rect> {
    let scale = free.width * free.height / sizes.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let mut rest: Vec<f64> = sizes.iter().map(|size| size * scale).collect();
    let mut placed = Vec::with_capacity(sizes.len());
    while !rest.is_empty() {
        let side = free.width.min(free.height);
        let row = (1..rest.len())
            .find(|&n| flatness(&rest[..=n], side) > flatness(&rest[..n], side))
            .unwrap_or(rest.len());
        let row: Vec<f64> = rest.drain(..row).collect();
        placed.extend(cut(&row, &mut free));
    }
    placed
}

/// Returns how far the flattest rectangle of a row along `side` is from a square: 1 is none.
fn flatness(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let flat = |area: f64| (side * side * area / (sum * sum)).max(sum * sum / (side * side * area));
    row.iter().copied().map(flat).fold(0.0, f64::max)
}

/// Cuts a row off the shorter side of what is free.
fn cut(row: &[f64], free: &mut Rect) -> Vec<Rect> {
    let sum: f64 = row.iter().sum();
    let upright = free.width >= free.height;
    let side = if upright { free.height } else { free.width };
    let thick = if side > 0.0 { sum / side } else { 0.0 };
    let mut at = 0.0;
    let rects = row.iter().map(|area| {
        let long = if thick > 0.0 { area / thick } else { 0.0 };
        let rect = if upright {
            Rect {
                x: free.x,
                y: free.y + at,
                width: thick,
                height: long,
            }
        } else {
            Rect {
                x: free.x + at,
                y: free.y,
                width: long,
                height: thick,
            }
        };
        at += long;
        rect
    });
    let rects = rects.collect();
    if upright {
        (free.x, free.width) = (free.x + thick, (free.width - thick).max(0.0));
    } else {
        (free.y, free.height) = (free.y + thick, (free.height - thick).max(0.0));
    }
    rects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_s_own_example() {
        let rects = squares(&[6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0], Rect::of(6.0, 4.0));
        let said: Vec<String> = rects
            .iter()
            .map(|it| format!("{:.2},{:.2} {:.2}x{:.2}", it.x, it.y, it.width, it.height))
            .collect();
        assert_eq!(
            said,
            [
                "0.00,0.00 3.00x2.00",
                "0.00,2.00 3.00x2.00",
                "3.00,0.00 1.71x2.33",
                "4.71,0.00 1.29x2.33",
                "3.00,2.33 1.20x1.67",
                "4.20,2.33 1.20x1.67",
                "5.40,2.33 0.60x1.67",
            ]
        );
        assert_eq!(squares(&[], Rect::of(1.0, 1.0)), []);
    }

    #[test]
    fn no_area_is_lost_and_nothing_is_outside() {
        let sizes: Vec<f64> = (1..200).rev().map(f64::from).collect();
        let rects = squares(&sizes, Rect::of(1100.0, 440.0));
        let all: f64 = sizes.iter().sum();
        for (size, it) in sizes.iter().zip(&rects) {
            let area = it.width * it.height / (1100.0 * 440.0);
            assert!((area - size / all).abs() < 1e-9, "{it:?}");
            assert!(it.x >= 0.0 && it.x + it.width < 1100.001 && it.y + it.height < 440.001);
        }
    }
}
