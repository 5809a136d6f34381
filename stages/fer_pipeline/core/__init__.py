"""What every stage rests on: errors, files written whole, records. Whatever is edited here reruns every stage."""
